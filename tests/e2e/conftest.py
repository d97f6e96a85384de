"""One cluster for all tests that do not need their own."""

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.places import place, purge_abandoned


@pytest.fixture(scope="session", autouse=True)
def abandoned() -> None:
    """Purge what killed runs have left."""
    purge_abandoned()


@pytest.fixture
def fresh() -> Iterator[Cluster]:
    """A cluster that is not up yet."""
    with place() as made:
        yield made


@pytest.fixture
def own_cluster(fresh: Cluster) -> Cluster:
    """A cluster that a test may break."""
    fresh.up()
    return fresh


@pytest.fixture(scope="module")
def apart() -> Iterator[Cluster]:
    """A cluster of a test module's own, not up yet."""
    with place() as made:
        yield made


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running cluster with the demo image."""
    with place() as made:
        made.up()
        yield made


@pytest.fixture(scope="session")
def three() -> Iterator[Cluster]:
    """A running cluster of three nodes that are lost after 3 s, with the demo image. A test that
    breaks a node mends it."""
    with place() as made:
        made.up("--nodes", "3", "--heartbeat", "1")
        yield made
