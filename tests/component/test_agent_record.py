"""The node's own record: what comes back after a crash, and what is never written."""

from pathlib import Path

from stackd.agent.record import COMPACT_BYTES, NodeRecord
from stackd.core.model.assignment import (
    Assignment,
    ContentItem,
    Item,
    ItemKind,
    ItemRef,
    NodeItem,
    TaskItem,
)
from stackd.core.model.container import ContainerSpec
from stackd.core.model.ids import RevisionId, TaskId
from stackd.core.model.release import ContentKind, Revision
from stackd.core.model.states import TaskState
from stackd.core.model.task import Task, TaskDesired, TaskStatus


def task_item(name: str, environment: str = "") -> TaskItem:
    container = ContainerSpec(image="a@sha256:1", environment={"X": environment})
    revision = RevisionId("r1")
    return TaskItem(
        task=Task(id=TaskId(name), stack="s", service="w", slot="1", revision=revision),
        desired=TaskDesired(id=TaskId(name)),
        revision=Revision(stack="s", service="w", id=revision, container=container),
    )


def message(sequence: int, *put: Item, full: bool = False, removed: str = "") -> Assignment:
    gone = (ItemRef(kind=ItemKind.TASK, key=removed),) if removed else ()
    return Assignment(
        full=full, applies_to=sequence - 1, sequence=sequence, epoch=1, put=put, removed=gone
    )


SECRET = ContentItem(kind=ContentKind.SECRET, name="k", version="v", value=b"hunter2")
NODE = NodeItem(id="n1", name="one", index=1, address="192.0.2.1")


def written(path: Path) -> None:
    record = NodeRecord(path, path.with_suffix(".spare"))
    record.load()
    record.assignment(message(1, NODE, SECRET, task_item("t1"), task_item("t2"), full=True))
    record.status(TaskStatus(id=TaskId("t1"), state=TaskState.RUNNING))
    record.status(TaskStatus(id=TaskId("t2"), state=TaskState.FAILED))
    record.assignment(message(2, task_item("t3"), removed="t2"))
    record.close()


def test_everything_comes_back_but_contents(tmp_path: Path) -> None:
    path = tmp_path / "record"
    written(path)
    assert b"hunter2" not in path.read_bytes()
    for _ in range(2):  # the first load rewrites the file
        record = NodeRecord(path, path.with_suffix(".spare"))
        assigned, statuses = record.load()
        record.close()
        assert {item.key for item in assigned.tasks()} == {"t1", "t3"}
        assert list(assigned.nodes()) == [NODE]
        assert list(assigned.contents()) == []
        assert (assigned.sequence, assigned.epoch) == (2, 1)
        assert statuses == {"t1": TaskStatus(id=TaskId("t1"), state=TaskState.RUNNING)}


def test_torn_and_damaged_ends_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "record"
    written(path)
    whole = path.read_bytes()
    seen = set()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        record = NodeRecord(path, path.with_suffix(".spare"))
        assigned, _ = record.load()
        record.close()
        seen.add(frozenset(item.key for item in assigned.tasks()))
    assert seen == {frozenset(), frozenset({"t1", "t2"})}
    path.write_bytes(whole + b"\x00\x00\x00\x02\xc1\xc1" + b"rest")
    record = NodeRecord(path, path.with_suffix(".spare"))
    assert {item.key for item in record.load()[0].tasks()} == {"t1", "t3"}
    record.close()


def test_journal_is_folded_into_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "record"
    record = NodeRecord(path, path.with_suffix(".spare"))
    assigned, _ = record.load()
    for sequence in range(1, 2000):
        change = message(sequence, task_item("t1", "x" * 1000), full=sequence == 1)
        assigned.apply(change)
        if record.assignment(change):
            record.rewrite(assigned, {})
            break
    else:
        raise AssertionError("it was never time to rewrite")
    assert path.stat().st_size < COMPACT_BYTES / 100
    record.close()


def test_a_full_disk_is_told_and_the_record_kept_elsewhere_until_it_ends(tmp_path: Path) -> None:
    """A folder in its way stands for whatever keeps a file from being written."""
    path, spare = tmp_path / "record", tmp_path / "spare"
    written(path)
    record = NodeRecord(path, spare)
    assigned, statuses = record.load()
    in_the_way = path.with_suffix(".new")
    in_the_way.mkdir()
    change = message(3, task_item("t4"))
    assigned.apply(change)
    record.rewrite(assigned, statuses)
    assert str(path) in record.trouble
    record.status(TaskStatus(id=TaskId("t3"), state=TaskState.RUNNING))
    record.close()  # the agent is killed
    record = NodeRecord(path, spare)
    assigned, statuses = record.load()
    assert {item.key for item in assigned.tasks()} == {"t1", "t3", "t4"}
    assert set(statuses) == {"t1", "t3"}
    assert record.trouble
    in_the_way.rmdir()
    record.rewrite(assigned, statuses)
    assert not record.trouble
    assert not spare.exists()
    assert record.load()[0].tasks()
    record.close()
