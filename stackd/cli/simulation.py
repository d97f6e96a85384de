"""How `plan --simulate` is printed. Called by `plan`."""

from collections.abc import Iterator

from stackd.core.model.api.simulation import Assumed, NodePeak, SimulatedStep, SimulationAnswer

_GIB = 1 << 30


def lines(found: SimulationAnswer) -> Iterator[str]:
    """What would happen, when, how much it takes at most, and what would keep it from it."""
    yield "simulated, " + _assumed(found.assumed)
    objects = max((len(step.object) for step in found.steps), default=0)
    for step in found.steps:
        yield f"  {span(step.at):>10}  {step.object:<{objects}}  {step.text}{_wait(step)}"
    people = f", without the {_times(found.people)} it waits for a person" if found.people else ""
    done, cleared = span(found.duration), span(found.cleared)
    yield f"  done after {done}{people}; nothing old left after {cleared}"
    for peak in found.peaks:
        yield f"  at most on {peak.node}: {_peak(peak)}"
    for reason in found.blocked:
        yield f"  ! {reason}"


def span(seconds: float) -> str:
    """Seconds as people say them: `1h 2m 5s`, `3.5s`."""
    if seconds < 60:
        return f"{round(seconds, 1):g}s"
    whole = round(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"))
    return " ".join(f"{n}{unit}" for n, unit in (*parts, (whole % 60, "s")) if n)


def _assumed(assumed: Assumed) -> str:
    starts = [
        f"{name} {seconds:g}s{'' if name in assumed.measured else ' (guessed)'}"
        for name, seconds in sorted(assumed.start_seconds.items())
    ]
    return (
        f"taking as start times {', '.join(starts) or 'none'}; stops {assumed.stop_seconds:g}s; "
        "that nodes apply traffic at once, no request stays open, no task fails and "
        "analyses pass as early as they may:"
    )


def _wait(step: SimulatedStep) -> str:
    match step.wait:
        case "person":
            return "  <- waits for a person"
        case "timed":
            return f"  <- waits {span(step.seconds)}"
        case "analysis":
            return f"  <- at least {span(step.seconds)}"
    return ""


def _times(count: int) -> str:
    return "one time" if count == 1 else f"{count} times"


def _peak(peak: NodePeak) -> str:
    tasks = "1 task" if peak.tasks == 1 else f"{peak.tasks} tasks"
    return (
        f"{tasks}, {peak.cpus:g} of {peak.has_cpus:g} CPUs and "
        f"{peak.memory / _GIB:.3g} of {peak.has_memory / _GIB:.3g} GiB reserved"
    )
