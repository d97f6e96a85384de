"""What of a strategy depends on what is seen of the service: its analyses, and where requests go.

Called by `assembly`, which knows the service's ports.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from stackd.core.model.analysis import AnalysisPolicy
from stackd.core.model.strategy import StrategyKind
from stackd.core.model.traffic import TOTAL
from stackd.core.spec import analysis, steps
from stackd.core.spec.analysis import AnalysisSection, CompareSection
from stackd.core.spec.strategy import At, StrategySection


@dataclass(frozen=True)
class Wanted:
    """An analysis of a strategy: where it stands below that, and why no request reaches the new
    revision before it ('' when requests do)."""

    at: At
    section: AnalysisSection
    lacks: str = ""
    alone: str = ""
    """Why there are no requests meanwhile with which those of the new revision could be compared;
    '' when there are."""

    def build(self, *, measured: bool) -> AnalysisPolicy:
        """The policy. `measured`: requests to the service are seen one by one.

        Raises:
            ValueError: it asks for nothing, or has no time for it.
        """
        section = self.section
        if measured and self.alone:
            section = section.model_copy(update={"compare": CompareSection()})
        return analysis.build(section, measured=measured and not self.lacks)

    def faults(self, http: str) -> Iterator[tuple[At, str]]:
        """Its keys that ask for requests which nobody sees, or which there are none of: where, and
        the words. `http`: what the service lacks for requests that are seen; '' when they are."""
        if http or self.lacks:
            lacks = f": {http}, or use checks" if http else f", {self.lacks}"
            for key, text in analysis.unmeasured(self.section, lacks):
                yield (*self.at, *key), text
        elif self.alone and self.section.compare is not None:
            yield (*self.at, "compare"), f"{self.alone}: use limits or checks"


_UNREACHED = (
    "and none reaches the new revision before this step: "
    "put set_weight, match or mirror before it, or use checks"
)
_UNSEEN = "and none reaches green before the switch: add `preview`, or use checks"
_NEVER_SEEN = (
    "and none reaches green before the switch, which ends the rollout: "
    "add `preview` or `post_promotion`, or use checks"
)
_SWITCHED = "blue gets no request after the switch to compare with"
_NEVER_BOTH = "green gets no request before the switch and blue none after it, to compare"
_WHOLE = "stable gets no request at 100% to compare with"


def analyses(section: StrategySection) -> Iterator[Wanted]:
    """Every analysis of a strategy."""
    if section.analysis is not None or section.type == StrategyKind.SHADOW:
        yield _background(section, section.analysis or AnalysisSection())
    if section.pre_promotion is not None:
        lacks = _UNSEEN if section.preview is None else ""
        yield Wanted(("pre_promotion",), section.pre_promotion, lacks)
    if section.post_promotion is not None:
        yield Wanted(("post_promotion",), section.post_promotion, alone=_SWITCHED)
    todo = section.steps or ()
    for number, step in enumerate(todo):
        if step.analysis is not None:
            lacks = "" if steps.reached(todo[:number]) else _UNREACHED
            whole = any(before.set_weight == TOTAL for before in todo[:number])
            alone = _WHOLE if whole else ""
            yield Wanted(("steps", number, "analysis"), step.analysis, lacks, alone)


def _background(section: StrategySection, policy: AnalysisSection) -> Wanted:
    """The analysis beside all steps."""
    if section.type != StrategyKind.BLUE_GREEN or section.preview is not None:
        return Wanted(("analysis",), policy)
    if section.post_promotion is None:
        return Wanted(("analysis",), policy, lacks=_NEVER_SEEN)
    return Wanted(("analysis",), policy, alone=_NEVER_BOTH)


def faults(section: StrategySection, http: str) -> Iterator[tuple[At, str]]:
    """What is wrong with single keys: where, and the words. `http`: what the service lacks for
    requests that are seen one by one; '' when they are."""
    for number, text in steps.faults(section.steps or (), http):
        yield ("steps", number), text
    for wanted in analyses(section):
        yield from wanted.faults(http)
    if section.type in (StrategyKind.SHADOW, StrategyKind.AB) and http:
        yield ("type",), f"{section.type} needs requests that are seen one by one: {http}"
    if section.preview is not None and http:
        yield ("preview",), f"preview needs requests that are seen one by one: {http}"
    waits = section.auto_promote is False or section.auto_promote_after or section.pre_promotion
    if section.preview is not None and not waits:
        text = "the switch comes at once, so that preview shows nothing"
        yield ("preview",), f"{text}: add auto_promote: false, auto_promote_after or pre_promotion"
