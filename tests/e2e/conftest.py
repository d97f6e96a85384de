"""One cluster for all tests that do not need their own."""

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster with the demo image; removed at the end, whatever happens."""
    made = Cluster(tmp_path_factory.mktemp("cluster") / "data")
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that a test may break."""
    made = Cluster(tmp_path_factory.mktemp("own") / "data")
    try:
        made.up()
        yield made
    finally:
        made.down()
