from stackd.core.spec.nodes import Place
from stackd.core.spec.problems import Report, dotted


def test_problems_are_sorted_and_told_apart_from_warnings() -> None:
    report = Report()
    report.error(Place("b", 1, 1), "later file")
    report.error(Place("a", 2, 1), "second line")
    report.warning(Place("a", 1, 1), "first line")
    report.error(Place("a", 2, 1), "second line")
    assert [p.text for p in report.all] == ["first line", "second line", "later file"]
    assert [p.text for p in report.errors] == ["second line", "later file"]
    assert [p.text for p in report.warnings] == ["first line"]


def test_a_settled_place_gets_no_further_errors() -> None:
    report = Report()
    report.settle(Place("a", 1, 1))
    report.error(Place("a", 1, 1), "follows from the first")
    assert not report.all


def test_paths_are_shown_with_dots_and_brackets() -> None:
    assert dotted(("services", "web", "ports", 0, "target")) == "services.web.ports[0].target"
