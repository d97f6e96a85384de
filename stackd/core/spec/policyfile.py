"""A file that is one analysis policy. Called by `stackd analysis replay`."""

from pydantic import ValidationError

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.spec.analysis import AnalysisSection, build
from stackd.core.spec.context import SourceFile
from stackd.core.spec.nodes import MapNode, Node, to_data
from stackd.core.spec.problems import Report, Stop
from stackd.core.spec.reader import Budget, read
from stackd.core.spec.validation import report_faults
from stackd.errors import Problem


def load_policy(file: SourceFile) -> tuple[AnalysisPolicy | None, tuple[Problem, ...]]:
    """The policy of a file that holds the keys of `analysis`, or `analysis:` and below it those
    keys; None with all problems when it is not sound. Never raises on any content."""
    report = Report()
    try:
        root: Node = read(file.name, file.text, Budget(report), report)
    except Stop:
        return None, report.all
    if isinstance(root, MapNode) and list(root.entries) == ["analysis"]:
        root = root.entries["analysis"].value
    try:
        policy = build(AnalysisSection.model_validate(to_data(root)))
    except ValidationError as error:
        report_faults(root, error, AnalysisSection, report)
    except ValueError as error:
        report.error(root.place, str(error))
    return (None, report.all) if report.errors else (policy, report.all)
