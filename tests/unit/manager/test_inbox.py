"""What nodes told waits, bounded, until it is judged."""

from msgspec.structs import replace

from stackd.core.model.analysis import Counters
from stackd.core.model.ids import RevisionId
from stackd.core.model.requests import Batch, Count, Measured, Variant
from stackd.core.model.variants import Tried
from stackd.manager.inbox import BATCHES, VARIANTS, Inbox

R1 = RevisionId("r1")


def batch(sequence: int, service: str = "web") -> Batch:
    return Batch(
        stack="shop",
        service=service,
        revision=R1,
        instance="t1",
        sequence=sequence,
        since=1.0,
        seconds=(0.1,) * 10,
    )


def inbox() -> Inbox:
    return Inbox(lambda key: key == "shop/web")


def test_the_same_task_through_two_nodes_is_two_sequences() -> None:
    found = inbox()
    found.put("n1", Measured(batches=(batch(2),)))
    found.put("n2", Measured(batches=(batch(1),)))
    assert [b.instance for b in found.batches("shop/web")] == ["t1@n1", "t1@n2"]


def test_services_that_are_not_measured_take_no_room() -> None:
    found = inbox()
    count = Count(stack="shop", service="api", revision=R1, requests=1, errors=1)
    found.put("n1", Measured(batches=(batch(1, "api"),), counts=(count,)))
    assert found.batches("shop/api") == ()
    assert found.counters("shop/api", R1) == Counters(requests=0, errors=0)


def test_the_oldest_go_and_what_is_judged() -> None:
    found = inbox()
    found.put("n1", Measured(batches=tuple(batch(n) for n in range(BATCHES + 5))))
    assert found.batches("shop/web")[0].sequence == 5
    found.drop("shop/web", lambda b: b.sequence < BATCHES)
    assert [b.sequence for b in found.batches("shop/web")] == list(range(BATCHES, BATCHES + 5))
    found.forget("shop/web")
    assert found.batches("shop/web") == ()


def test_variants_add_up_for_each_goal_and_are_bounded() -> None:
    found = inbox()
    told = Variant(
        stack="shop", service="web", revision=R1, goal="a", tried=Tried(requests=4, goals=1)
    )
    other = replace(told, goal="b")
    found.put("n1", Measured(variants=(told, other, replace(told, service="api"))))
    found.put("n2", Measured(variants=(told,)))
    assert found.tried("shop/web", R1, "a") == Tried(requests=8, goals=2)
    assert found.tried("shop/web", R1, "b") == Tried(requests=4, goals=1)
    assert found.tried("shop/api", R1, "a") == Tried()
    many = tuple(replace(told, goal=f"g{n}") for n in range(VARIANTS))
    found.put("n1", Measured(variants=many))
    assert found.tried("shop/web", R1, "a") == Tried()
    assert found.tried("shop/web", R1, "g0") == Tried(requests=4, goals=1)
    found.forget("shop/web")
    assert found.tried("shop/web", R1, "g0") == Tried()


def test_counts_add_up_over_nodes() -> None:
    found = inbox()
    for node in ("n1", "n2", "n1"):
        count = Count(stack="shop", service="web", revision=R1, requests=10, errors=1)
        found.put(node, Measured(counts=(count,)))
    assert found.counters("shop/web", R1) == Counters(requests=30, errors=3)
