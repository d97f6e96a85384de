"""What a name on the command line means."""

import msgspec
import pytest

from stackd.core.model.rollout import ToggleState
from stackd.core.model.states import TaskState
from stackd.core.model.world import World
from stackd.errors import Refused
from stackd.manager.api import names
from tests.fakes.stacks import deployed, node, put, service, stack, task


@pytest.fixture
def world() -> World:
    found = deployed(stack(service(), service("db")))
    deployed(stack(service("api"), name="other"), found)
    put(found, *node())
    put(found, *task("old", TaskState.FAILED, created=1.0))
    put(found, *task("run", created=2.0))
    return put(found, *task("next", TaskState.SHUTDOWN, created=3.0))


def test_a_bare_word_is_a_stack(world: World) -> None:
    assert names.services_of(world, "shop") == [("shop", "db"), ("shop", "web")]
    assert names.services_of(world, "") == [("other", "api"), ("shop", "db"), ("shop", "web")]
    assert names.services_of(world, "shop/web") == [("shop", "web")]


def test_a_bare_word_that_is_only_a_service_is_refused_and_listed(world: World) -> None:
    deployed(stack(service("api"), name="third"), world)
    with pytest.raises(Refused, match="no stack api") as refused:
        names.services_of(world, "api")
    assert refused.value.remedy == "Did you mean other/api or third/api?"


@pytest.mark.parametrize("name", ["nosuch", "nosuch/web", "shop/nosuch"])
def test_unknown_names_are_refused(world: World, name: str) -> None:
    with pytest.raises(Refused, match="There is no"):
        names.services_of(world, name)


def test_a_slot_means_the_newest_task_that_should_run(world: World) -> None:
    assert names.task_of(world, "shop/web.1").task.id == "run000000000"


def test_a_slot_without_a_running_task_means_its_newest(world: World) -> None:
    found = deployed(stack(service()))
    put(found, *task("a", TaskState.FAILED, created=1.0))
    put(found, *task("b", TaskState.FAILED, created=2.0))
    assert names.task_of(found, "shop/web.1").task.id == "b00000000000"


def test_a_task_by_its_id(world: World) -> None:
    assert names.task_of(world, "old000000000").task.id == "old000000000"
    assert [t.task.id for t in names.tasks_named(world, "run000000000")] == ["run000000000"]


@pytest.mark.parametrize("name", ["shop/web.7", "shop/web", "shop", "shop/nosuch.1", "x"])
def test_what_is_no_task(world: World, name: str) -> None:
    with pytest.raises(Refused):
        names.task_of(world, name)


def test_global_tasks_are_named_by_their_node(world: World) -> None:
    place, _ = node()
    put(world, *task("glob", slot=place.id))
    view = names.task_of(world, "shop/web.node1")
    assert view.task.id == "glob00000000"
    assert names.task_name(world, view) == "shop/web.node1"


def test_a_word_that_is_a_stack_and_a_task_is_refused_and_both_are_listed(world: World) -> None:
    deployed(stack(service(), name="run000000000"), world)
    for resolve in (names.tasks_named, names.task_of):
        with pytest.raises(Refused) as refused:
            resolve(world, "run000000000")
        assert refused.value.cause == (
            "run000000000 could be stack run000000000 or task shop/web.1 (its id)."
        )


def test_a_word_that_is_a_stack_and_a_node(world: World) -> None:
    deployed(stack(service(), name="node1"), world)
    names.check_word(world, "node1")
    with pytest.raises(Refused, match="stack node1 or node node1"):
        names.check_word(world, "node1", nodes=True)


def test_services_that_are_going_still_have_names(world: World) -> None:
    put(world, msgspec.structs.replace(task("x")[0], service="gone"))
    assert names.service_names(world, "shop") == ["db", "gone", "web"]


def test_a_toggle_with_stages_is_named_below_its_service(world: World) -> None:
    state = ToggleState(stack="shop", service="web/cart")
    assert names.moving_of(put(world, state), "shop/web/cart") == ("shop", "web/cart")
    assert names.services_of(world, "shop/web/cart") == [("shop", "web/cart")]
    assert names.moving_of(world, "shop/web") == ("shop", "web")
    for name in ("shop/web/other", "shop/db/cart", "shop/no/cart", "no/web/cart"):
        with pytest.raises(Refused):
            names.moving_of(world, name)
