"""Processes that may open no more files: what runs is unharmed, the cause is told, and what was
asked for meanwhile is done when they may again."""

import contextlib
import itertools
import resource
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e import truth
from tests.e2e.cluster import Cluster, free_port, until
from tests.e2e.stacks import Web, get
from tests.e2e.test_faults import answers

pytestmark = pytest.mark.e2e

SAID = ("Too many open files", "The spawner of this node does not answer")


@contextlib.contextmanager
def no_files(cluster: Cluster, name: str, spare: int = 0) -> Iterator[None]:
    """The process may open `spare` files more."""
    pid = cluster.pid(name)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    numbers = {int(path.name) for path in Path("/proc", str(pid), "fd").iterdir()}
    free = (number for number in itertools.count() if number not in numbers)
    limit = next(itertools.islice(free, spare, None))  # also the numbers between others count
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def broken(cluster: Cluster, name: str, spare: int) -> None:
    """A rollout is asked for while the process lacks descriptors."""
    stack = name.rpartition("/")[2]
    web = Web(stack, free_port())
    assert cluster.apply(web.text, "--wait").code == 0
    until(lambda: answers(web.port), "the ingress serves")
    before = truth.processes(cluster)
    changed = Web(stack, web.port, version=2)
    with ThreadPoolExecutor(1) as pool, no_files(cluster, name, spare):
        asking = pool.submit(cluster.apply, changed.text)
        futures.wait([asking], timeout=5)
        if name != "manager":
            assert asking.result().code == 0
            until(lambda: hindered(cluster, stack), "its cause is told", 20)
        assert get(web.port)[0] == 200
        now = truth.processes(cluster)
        assert {n: now.get(n) for n in before} == before
    asked = asking.result()
    assert "Traceback" not in asked.err
    if asked.code:
        until(lambda: cluster.apply(changed.text).code == 0, "it is taken in now", 30)
    assert cluster.run("wait", stack, "--timeout", "60s").code == 0
    now = truth.processes(cluster)
    gone = {n for n in before if now.get(n) != before[n]}
    assert all(n.startswith("node1/b/") for n in gone), gone
    until(lambda: get(web.port)[1].find(b'"2"') > 0, "the new version serves")
    assert cluster.run("rm", stack, "--wait").code == 0


def hindered(cluster: Cluster, stack: str) -> bool:
    """Whether somebody who asks learns that there are too few descriptors."""
    told = cluster.must("why", stack).out
    return any(words in told for words in SAID)


def test_an_agent_without_descriptors(cluster: Cluster) -> None:
    broken(cluster, "node1/agent", 0)


def test_a_spawner_without_descriptors(cluster: Cluster) -> None:
    broken(cluster, "node1/spawner", 0)


def test_a_manager_without_descriptors(cluster: Cluster) -> None:
    broken(cluster, "manager", 0)
