"""Plans: every kind of change, their order, ownership, and a hash that moves with the world."""

from typing import Any

import msgspec
import pytest

from stackd.core.model.container import Grant, HealthCheck, Mount, MountKind
from stackd.core.model.ids import NetworkId, RevisionId
from stackd.core.model.network import Network, VolumeBinding
from stackd.core.model.record import Record
from stackd.core.model.release import ContentHead, ContentKind, Hold, Override
from stackd.core.model.rollout import Rollout, ServiceState
from stackd.core.model.stack import ContentSpec, DependsOn, Mode, NetworkSpec, Port, VolumeSpec
from stackd.core.model.world import World
from stackd.core.plan import changes as kinds
from stackd.core.plan.make import Plan, make_plan
from stackd.errors import Refused
from tests.fakes.stacks import NOW, commit, declare, deployed, head, put, service, stack


def names(plan: Plan) -> list[str]:
    return [str(c.__struct_config__.tag) for c in plan.changes]


def test_a_new_stack_is_created_from_the_outside_in() -> None:
    volumes = {"data": VolumeSpec(name="shop_data")}
    mount = Mount(kind=MountKind.VOLUME, source="data", target="/data")
    plan = make_plan(
        World(), declare(stack(service(replicas=3, container_mounts=(mount,)), volumes=volumes))
    )
    assert names(plan) == ["create-network", "create-volume", "create-service"]
    assert isinstance(plan.changes[2], kinds.CreateService)
    assert plan.changes[2].tasks == "3 tasks"
    assert (plan.base, plan.changed) == (0, True)


def test_a_global_service_says_so() -> None:
    plan = make_plan(World(), declare(stack(service(mode=Mode.GLOBAL))))
    created = plan.changes[-1]
    assert isinstance(created, kinds.CreateService)
    assert created.tasks == "on every fitting node"


def test_what_is_declared_already_changes_nothing() -> None:
    world = deployed(stack(service()))
    again = make_plan(world, declare(stack(service())))
    assert again.changes == ()
    assert not again.changed
    assert again.base == 1


def test_services_come_after_what_they_depend_on_whatever_their_names() -> None:
    spec = stack(
        service("a", depends_on={"z": DependsOn.HEALTHY}),
        service("m", depends_on={"a": DependsOn.STARTED}),
        service("z"),
    )
    plan = make_plan(World(), declare(spec))
    created = [c.service for c in plan.changes if isinstance(c, kinds.CreateService)]
    assert created == ["z", "a", "m"]


def test_another_container_is_a_rollout_and_names_the_fields() -> None:
    world = deployed(stack(service()))
    check = HealthCheck(command=("/check",))
    plan = make_plan(world, declare(stack(service(container_healthcheck=check))))
    [change] = plan.changes
    assert isinstance(change, kinds.ReplaceRevision)
    assert change.strategy == "rolling"
    assert any(f.path.startswith("healthcheck") for f in change.fields)
    assert change.before != change.after


def test_another_digest_is_a_rollout() -> None:
    world = deployed(stack(service()), letter="a")
    plan = make_plan(world, declare(stack(service()), letter="b"))
    assert names(plan) == ["replace-revision"]


@pytest.mark.parametrize(
    "fields",
    [
        {"replicas": 4},
        {"deploy_labels": {"a": "b"}},
        {"ports": (Port(target=80, published=8080),)},
    ],
)
def test_what_affects_no_task_changes_in_place(fields: dict[str, Any]) -> None:
    world = deployed(stack(service()))
    plan = make_plan(world, declare(stack(service(**fields))))
    [change] = plan.changes
    assert isinstance(change, kinds.ChangeInPlace)
    assert change.fields[0].path.startswith(next(iter(fields)))
    assert kinds.describe("shop", change).effect == "in place, no task is replaced"


def test_the_same_digest_under_another_name_changes_in_place() -> None:
    world = deployed(stack(service(image="web:1")))
    plan = make_plan(world, declare(stack(service(image="web:2"))))
    assert names(plan) == ["change-in-place"]


def test_what_is_no_longer_declared_goes_last() -> None:
    world = deployed(stack(service(), service("old")))
    other = {"default": NetworkSpec(name="elsewhere")}
    plan = make_plan(world, declare(stack(service("new"), service(), networks=other)))
    assert names(plan) == [
        *("create-network", "create-service", "change-declaration"),
        *("remove-service", "remove-network"),
    ]


def test_a_network_that_exists_and_an_external_one_are_not_made() -> None:
    network = Network(id=NetworkId("n1"), name="shop_default", vni=1, subnet="10.0.0.0/24")
    external = NetworkSpec(name="x", external=True)
    networks = {"default": NetworkSpec(name="shop_default"), "x": external}
    plan = make_plan(put(World(), network), declare(stack(service(), networks=networks)))
    assert names(plan) == ["create-service"]


def test_volumes_are_made_once() -> None:
    volumes = {"data": VolumeSpec(name="shop_data"), "out": VolumeSpec(name="out", external=True)}
    bound = VolumeBinding(name="shop_data", node="n1")
    assert "create-volume" in names(make_plan(World(), declare(stack(service(), volumes=volumes))))
    with_it = make_plan(put(World(), bound), declare(stack(service(), volumes=volumes)))
    assert "create-volume" not in names(with_it)


def test_contents_name_versions_before_the_services_that_use_them() -> None:
    grant = Grant(name="app", target="/etc/app")
    spec = stack(service(container_configs=(grant,)), configs={"app": ContentSpec(name="shop_app")})
    first = make_plan(World(), declare(spec, versions={"config/app": "v1"}))
    assert first.changes[0] == kinds.PutContent(
        kind="config", name="shop_app", before="", after="v1"
    )
    world = commit(World(), first)
    put(world, ContentHead(kind=ContentKind.CONFIG, name="shop_app", version="v1", stack="shop"))
    second = make_plan(world, declare(spec, versions={"config/app": "v2"}))
    assert names(second) == ["put-content", "replace-revision"]
    assert make_plan(world, declare(spec, versions={"config/app": "v1"})).changes == ()


def test_an_external_content_is_never_put() -> None:
    grant = Grant(name="key", target="/run/secrets/key")
    spec = stack(
        service(container_secrets=(grant,)), secrets={"key": ContentSpec(name="key", external=True)}
    )
    plan = make_plan(World(), declare(spec, versions={"secret/key": "v1"}))
    assert "put-content" not in names(plan)


def test_a_revision_on_hold_is_refused_and_says_how_to_lift_it() -> None:
    world = deployed(stack(service()))
    wanted = declare(stack(service(container_user="1")))
    after = make_plan(world, wanted).revisions[0].id
    put(world, Hold(stack="shop", service="web", revision=after, reason="it crashed", at=NOW))
    [change] = make_plan(world, wanted).changes
    assert isinstance(change, kinds.RefuseRevision)
    assert kinds.describe("shop", change).effect == "none until `stackd retry shop/web`"


def test_an_override_ends_only_when_the_declared_value_changes() -> None:
    world = deployed(stack(service(replicas=2)))
    by_hand = Override(stack="shop", service="web", replicas=9, declared=2, by="root", at=NOW)
    put(world, by_hand)
    kept = make_plan(world, declare(stack(service(replicas=2, container_user="1"))))
    assert names(kept) == ["replace-revision"]
    plan = make_plan(world, declare(stack(service(replicas=3))))
    assert names(plan) == ["change-in-place", "clear-override"]
    commit(world, plan)
    assert world.get(Override, "shop/web") is None


@pytest.mark.parametrize(
    ("owner", "wanted", "said"),
    [
        ("repo:ops", "cli", "owned by repo:ops"),
        ("cli", "repo:ops", "owned by cli"),
        ("repo:a", "repo:b", "owned by repo:a"),
    ],
)
def test_a_foreign_owner_is_refused_and_named(owner: str, wanted: str, said: str) -> None:
    world = deployed(stack(service()), owner=owner)
    with pytest.raises(Refused, match=said) as refused:
        make_plan(world, declare(stack(service()), owner=wanted))
    assert "adopt shop --repo" in refused.value.remedy or "--override" in refused.value.remedy


def test_an_override_of_the_owner_keeps_the_owner_and_is_shown() -> None:
    world = deployed(stack(service()), owner="repo:ops")
    plan = make_plan(world, declare(stack(service(replicas=2)), owner="cli", override=True))
    assert plan.changes[0] == kinds.TakeOver(owner="repo:ops")
    commit(world, plan)
    assert head(world).owner == "repo:ops"
    assert head(world).override == "root@local"


def test_a_stack_that_is_being_removed_takes_nothing() -> None:
    world = deployed(stack(service()))
    put(world, msgspec.structs.replace(head(world), removing=True))
    with pytest.raises(Refused, match="being removed"):
        make_plan(world, declare(stack(service())))


@pytest.mark.parametrize(
    "moved",
    [
        ServiceState(stack="shop", service="web", stable=RevisionId("b")),
        ServiceState(stack="shop", service="web", rollout=Rollout(id="r", target=RevisionId("c"))),
    ],
)
def test_the_hash_moves_with_the_world(moved: Record) -> None:
    world = deployed(stack(service()))
    wanted = declare(stack(service(replicas=2)))
    before = make_plan(world, wanted)
    assert make_plan(world, wanted).hash == before.hash
    put(world, moved)
    after = make_plan(world, wanted)
    assert after.hash != before.hash
    assert after.content_hash == before.content_hash


def test_the_hash_moves_with_each_release_and_not_with_other_stacks() -> None:
    world = deployed(stack(service()))
    wanted = declare(stack(service(replicas=2)))
    before = make_plan(world, wanted).hash
    deployed(stack(service(), name="other"), world)
    assert make_plan(world, wanted).hash == before
    deployed(stack(service(replicas=5)), world)
    assert make_plan(world, wanted).hash != before


def test_every_kind_of_change_is_described() -> None:
    described: list[kinds.PlanChange] = [
        kinds.TakeOver(owner="repo:ops"),
        kinds.PutContent(kind="secret", name="key", before="v1", after="v2"),
        kinds.CreateNetwork(name="n"),
        kinds.CreateVolume(name="v"),
        kinds.CreateService(service="web", revision="r", tasks="1 tasks", strategy="rolling"),
        kinds.ReplaceRevision(service="web", before="a", after="b", strategy="recreate", fields=()),
        kinds.RefuseRevision(service="web", revision="b", reason="bad"),
        kinds.ChangeInPlace(service="web", fields=()),
        kinds.GrowFeature(service="web", feature="x", before="0%", after="5%", steps=()),
        kinds.ClearOverride(service="web", replicas=3),
        kinds.ChangeDeclaration(fields=()),
        kinds.RemoveService(service="web"),
        kinds.RemoveNetwork(name="n"),
    ]
    assert {type(c) for c in described} == set(kinds.PlanChange.__args__)
    for change in described:
        words = kinds.describe("shop", change)
        assert words.text
        assert words.object
        assert words.effect
    assert kinds.describe("shop", described[5]).effect == "rollout: recreate"
