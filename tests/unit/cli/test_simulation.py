"""How a played plan is printed."""

import pytest

from stackd.cli.simulation import lines, span
from stackd.core.model.api import Assumed, NodePeak, SimulatedStep, SimulationAnswer


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (3.25, "3.2s"),
        (59.96, "60s"),
        (60, "1m"),
        (125.4, "2m 5s"),
        (86400, "1d"),
        (90061, "1d 1h 1m 1s"),
    ],
)
def test_spans_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_steps_waits_peaks_and_what_blocks() -> None:
    steps = (
        SimulatedStep(at=0, object="shop/web", text="step 1 of 3: set_weight 5%"),
        SimulatedStep(at=8, object="shop/web", text="pause", wait="timed", seconds=90),
        SimulatedStep(at=98, object="shop/web", text="pause", wait="person"),
        SimulatedStep(at=98, object="shop/web", text="analysis", wait="analysis", seconds=40),
    )
    peak = NodePeak(node="node1", tasks=1, cpus=0.5, memory=1 << 29, has_cpus=4, has_memory=8 << 30)
    answer = SimulationAnswer(
        steps=steps,
        duration=138,
        cleared=169,
        people=1,
        peaks=(peak,),
        blocked=("shop/db: no room",),
        assumed=Assumed(start_seconds={"web": 3, "db": 5}, measured=("web",), stop_seconds=1),
    )
    shown = list(lines(answer))
    assert shown[0].startswith("simulated, taking as start times db 5s (guessed), web 3s;")
    assert shown[1:5] == [
        "          0s  shop/web  step 1 of 3: set_weight 5%",
        "          8s  shop/web  pause  <- waits 1m 30s",
        "      1m 38s  shop/web  pause  <- waits for a person",
        "      1m 38s  shop/web  analysis  <- at least 40s",
    ]
    assert "done after 2m 18s, without the one time it waits for a person" in shown[5]
    assert shown[5].endswith("nothing old left after 2m 49s")
    assert shown[6] == "  at most on node1: 1 task, 0.5 of 4 CPUs and 0.5 of 8 GiB reserved"
    assert shown[7] == "  ! shop/db: no room"
