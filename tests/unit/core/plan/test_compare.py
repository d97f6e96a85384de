"""What a pull request changes: words without revision ids, contents without values."""

import msgspec

from stackd.core.model.api.compare import CompareLine, FieldRow
from stackd.core.model.container import Grant
from stackd.core.model.stack import ContentSpec
from stackd.core.plan.compare import Declared, compare
from tests.fakes.stacks import service, stack

NONE: frozenset[str] = frozenset()
GRANT = Grant(name="key", target="/run/secrets/key")


def lines(before: Declared | None, after: Declared | None) -> tuple[CompareLine, ...]:
    found = compare(
        {"shop": before} if before else {}, {"shop": after} if after else {}, NONE
    )  # fmt: skip
    return found[0].changes if found else ()


def secret(value: bytes) -> Declared:
    declared = {"key": ContentSpec(name="shop_key")}
    spec = stack(service(container_secrets=(GRANT,)), secrets=declared)
    return Declared(spec=spec, contents={"secret/key": value})


def test_the_same_is_no_difference() -> None:
    assert lines(secret(b"x"), secret(b"x")) == ()


def test_a_new_stack_is_created() -> None:
    found = lines(None, Declared(spec=stack(service(replicas=3))))
    assert [line.text for line in found] == [
        "create network shop_default",
        "create shop/web, 3 tasks",
    ]


def test_a_stack_whose_file_is_gone() -> None:
    [line] = lines(Declared(spec=stack(service())), None)
    assert line.kind == "remove-stack"
    assert "--prune" in line.effect


def test_another_image_is_a_rollout_by_the_strategy_and_names_both() -> None:
    [line] = lines(
        Declared(spec=stack(service(image="web:1"))), Declared(spec=stack(service(image="web:2")))
    )
    assert (line.text, line.effect) == ("replace the tasks of shop/web", "rollout: rolling")
    assert line.fields == (FieldRow(path="image", before="web:1", after="web:2"),)


def test_replicas_change_in_place() -> None:
    [line] = lines(Declared(spec=stack(service())), Declared(spec=stack(service(replicas=4))))
    assert line.effect == "in place, no task is replaced"
    assert line.fields == (FieldRow(path="replicas", before="1", after="4"),)


def test_a_secret_is_only_said_to_have_changed() -> None:
    found = lines(secret(b"old-value"), secret(b"new-value"))
    assert [line.text for line in found] == [
        "secret shop_key: changed", "replace the tasks of shop/web",
    ]  # fmt: skip
    assert found[1].fields == (FieldRow(path="secrets", before="", after=""),)
    body = msgspec.json.encode(found)
    assert b"value" not in body
    assert b"version" not in body


def test_a_new_secret_is_said_to_be_new() -> None:
    found = lines(Declared(spec=stack(service())), secret(b"x"))
    assert "secret shop_key: new" in [line.text for line in found]


def test_a_service_that_goes_is_removed() -> None:
    before = Declared(spec=stack(service(), service("old")))
    [line] = lines(before, Declared(spec=stack(service())))
    assert (line.text, line.effect) == ("remove shop/old", "remove")


def test_nothing_is_said_of_a_stack_that_cannot_be_read() -> None:
    before = {"shop": Declared(spec=stack(service()))}
    assert compare(before, {}, frozenset({"shop"})) == ()


def test_stacks_come_by_name() -> None:
    after = {name: Declared(spec=stack(service(), name=name)) for name in ("b", "a")}
    assert [found.stack for found in compare({}, after, NONE)] == ["a", "b"]
