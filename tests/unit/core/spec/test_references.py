import itertools

from tests.unit.core.spec.stacks import document, errors, faults


def chain(**needs: str) -> str:
    return "services:\n" + "".join(
        f"  {name}: {{image: x, depends_on: [{other}]}}\n" for name, other in needs.items()
    )


def test_cycles_are_shown_whole() -> None:
    assert errors(chain(a="b", b="c", c="a")) == [
        "4:29 the services wait for each other: a -> b -> c -> a"
    ]
    assert "wait for each other: a -> a" in errors(chain(a="a"))[0]


def test_long_chains_are_no_problem() -> None:
    names = [f"s{n}" for n in range(600)]
    text = chain(**{one: other for one, other in itertools.pairwise(names)})
    assert errors(text + f"  {names[-1]}: {{image: x}}\n") == []


def test_a_diamond_is_no_cycle() -> None:
    text = chain(a="b, c", b="d", c="d") + "  d: {image: x}\n"
    assert errors(text) == []


def test_a_port_published_twice() -> None:
    assert "port 80 is published twice" in faults("ports: ['80:1', '80:2']")
    other = "  other: {image: x, ports: ['80:1']}\n"
    found = errors(document("ports: ['80:1']") + other)
    assert found == ["5:28 port 80 is published by web too: only http ports can be shared"]


def test_ports_chosen_by_the_cluster_do_not_clash() -> None:
    assert faults("ports: ['80', '81']") == ""
