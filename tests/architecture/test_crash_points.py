"""The failpoints of `tests.crash.points` are what the source has: none is misspelt, and what writes
to the store, reports, or does a step of a task on the host is not forgotten."""

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, STACKD, modules, tree
from tests.crash import points

PLACES = [
    *(step.place for step in points.STEPS),
    *(writer.place for writer in points.WRITERS if writer.place),
    points.LOOP_PASS,
    points.WRITER_DO,
    points.WRITER_COMMIT,
]
LOOP = "the control loops"
BY_HAND = "none: seldom, by a request, by Git or at a start, whole in one transaction"
COMMITS = {
    "approval.py": {BY_HAND},
    "access.py": {BY_HAND},
    "certificates.py": {BY_HAND},
    "commit_statuses.py": {BY_HAND},
    "contents.py": {"contents", BY_HAND},
    "deployer.py": {"deploy", "removal", BY_HAND},
    "flags.py": {BY_HAND},
    "hooks.py": {BY_HAND},
    "freezing.py": {BY_HAND},
    "leader.py": {"leader"},
    "leading.py": {BY_HAND},
    "loop.py": {LOOP},
    "networks.py": {BY_HAND},
    "nodes.py": {BY_HAND},
    "notices.py": {BY_HAND},
    "noting.py": {BY_HAND},
    "processing.py": {BY_HAND},
    "registrations.py": {"registrations"},
    "registries.py": {BY_HAND},
    "repositories.py": {BY_HAND},
    "reverts.py": {BY_HAND},
    "rollouts.py": {BY_HAND},
    "stacks.py": {"scale", BY_HAND},
    "statuses.py": {"statuses"},
    "tokens.py": {BY_HAND},
}
"""Every file of the manager that writes to the store -> the failpoints of its commits."""
READS = {
    "exec",
    "probe",
    "logs",
    "wait",
    "written",
    "http_get",
    "connect",
    "check",
    "close",
    "doubtful",
    "remove_volume",
}
"""Of the drivers: what changes nothing on the node, and what no task's life comes to."""


def place_of(place: str) -> tuple[Path, list[str]]:
    """The file and the qualified name of `module:name`."""
    module, _, qualified = place.partition(":")
    return ROOT / f"{module.replace('.', '/')}.py", qualified.split(".")


@pytest.mark.parametrize("place", PLACES)
def test_a_failpoint_is_at_a_function(place: str) -> None:
    path, qualified = place_of(place)
    body = tree(path).body
    for part in qualified:
        [found] = [node for node in body if getattr(node, "name", None) == part]
        assert isinstance(found, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        body = found.body
    assert not isinstance(found, ast.ClassDef)


def test_names_are_used_once() -> None:
    names = [step.name for step in points.STEPS] + [f"store.{w.name}" for w in points.WRITERS]
    assert len(names) == len(set(names))
    assert len(points.POINTS) == 2 * len(names) >= 150


def committing() -> set[str]:
    """The manager's files that call a store transaction."""
    return {
        path.name
        for path in modules(STACKD / "manager")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("commit", "submit", "txn")
    }


def test_every_file_that_commits_is_listed() -> None:
    assert committing() <= COMMITS.keys()
    named = {writer.name for writer in points.WRITERS if writer.place}
    assert set().union(*COMMITS.values()) - {LOOP, BY_HAND} == named


def test_every_control_loop_is_listed() -> None:
    """Their names stand in the calls that make them."""
    made = {
        ast.literal_eval(argument)
        for path in modules(STACKD / "manager")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "ControlLoop"
        for argument in [*node.args[:1], *(k.value for k in node.keywords if k.arg == "name")]
    }
    assert made == set(points.LOOPS)


@pytest.mark.parametrize(
    ("protocol", "implementation"),
    [
        ("Runtime", "stackd.host.runtime:RuncRuntime"),
        ("NodeNetwork", "stackd.host.datapath:HostNetwork"),
        ("Proxy", "stackd.xds.proxy:EnvoyProxy"),
        ("Images", "stackd.host.images:NodeImages"),
    ],
)
def test_every_step_of_a_driver_is_listed(protocol: str, implementation: str) -> None:
    [found] = [
        node
        for node in tree(STACKD / "agent" / "drivers.py").body
        if isinstance(node, ast.ClassDef) and node.name == protocol
    ]
    wanted = {
        f"{implementation}.{node.name}"
        for node in found.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in READS
    }
    assert wanted <= set(PLACES)


def test_every_job_of_a_task_is_listed() -> None:
    """What `TaskRunner` starts in the background, apart from watching."""
    jobs = {
        node.args[1].attr
        for node in ast.walk(tree(STACKD / "agent" / "task.py"))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "self._spawn"
        and isinstance(node.args[1], ast.Attribute)
    }
    assert jobs
    watching = {"_await_exit", "_health", "_watch_disk"}
    assert {f"stackd.agent.task:TaskRunner.{job}" for job in jobs - watching} <= set(PLACES)
