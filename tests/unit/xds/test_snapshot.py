"""The order of a change."""

from stackd.xds.snapshot import BARRIER, Resource, Snapshot, phases, with_barrier


def res(name: str, version: str = "1", ready: int = 0) -> Resource:
    return Resource(name, version, None, ready)


def shot(*, eds: dict[str, int], routes: str, listeners: tuple[str, ...] = ("p",)) -> Snapshot:
    """`eds`: cluster -> healthy endpoints; `routes`: version of the routes of `p`."""
    return Snapshot(
        clusters={n: res(n) for n in eds},
        endpoints={n: res(n, f"{n}{ready}", ready) for n, ready in eds.items()},
        listeners={n: res(n) for n in listeners},
        routes={"p": res("p", routes)} if routes else {},
    )


def test_nothing_to_do_is_no_phase() -> None:
    same = shot(eds={"a": 1}, routes="1")
    assert phases(same, same) == []


def test_a_last_endpoint_goes_only_after_the_routes_moved() -> None:
    old, new = shot(eds={"a": 1}, routes="1"), shot(eds={"a": 0, "b": 1}, routes="2")
    first, second, third = phases(old, new)
    assert first.endpoints["a"].ready == 1
    assert first.endpoints["b"].ready == 1
    assert first.routes["p"].version == "1"
    assert second.endpoints["a"].ready == 1
    assert second.routes["p"].version == "2"
    assert third == new


def test_one_of_several_endpoints_goes_at_once() -> None:
    old, new = shot(eds={"a": 3}, routes="1"), shot(eds={"a": 2}, routes="1")
    assert phases(old, new) == [new]


def test_a_cluster_goes_last_and_with_it_the_barrier_moves() -> None:
    old = with_barrier(shot(eds={"a": 1, "b": 1}, routes="1"), "v1")
    new = with_barrier(shot(eds={"b": 1}, routes="2"), "v2")
    *before, last = phases(old, new)
    assert all("a" in phase.clusters for phase in before)
    assert all(phase.routes[BARRIER] == old.routes[BARRIER] for phase in before)
    assert last == new


def test_a_listener_opens_when_its_routes_are_there() -> None:
    old = shot(eds={"a": 1}, routes="", listeners=())
    new = shot(eds={"a": 1}, routes="1")
    routed, opened = phases(old, new)
    assert routed.routes["p"].version == "1"
    assert routed.listeners == {}
    assert opened == new


def test_routes_that_go_are_emptied_first_because_envoy_keeps_what_is_removed() -> None:
    old = shot(eds={"a": 1}, routes="1")
    new = shot(eds={"a": 1}, routes="", listeners=())
    emptied, last = phases(old, new)
    assert emptied.routes["p"].version not in ("1", "")
    assert last.routes == {}
