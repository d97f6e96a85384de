"""`stackd analysis replay`: exit codes, the answer as text and as JSON."""

from pathlib import Path
from random import Random

import msgspec
import pytest

from stackd.cli import app


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.yml"
    path.write_text("analysis: {warm_up: 0s, time_limit: 15m}\n")
    return str(path)


@pytest.fixture
def counts(tmp_path: Path) -> str:
    source, lines = Random(5), ["at,instance,role,requests,errors"]
    for minute in range(15):
        for n in range(6):
            bad = sum(source.random() < 0.005 for _ in range(60))
            lines.append(f"{minute * 60},s{n},stable,60,{bad}")
        lines.append(f"{minute * 60},c,canary,60,30")
    path = tmp_path / "counts.csv"
    path.write_text("\n".join(lines))
    return str(path)


def test_text(policy: str, counts: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert app.main(["analysis", "replay", policy, counts, "--worse", "50%", "--runs", "3"]) == 0
    shown = capfd.readouterr().out
    assert "6 stable instances" in shown
    assert "as recorded   fail after" in shown
    assert "no worse      false aborts 0 of 3" in shown
    assert "errors 50%    found 3 of 3 (100.0%" in shown


def test_json(policy: str, counts: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["analysis", "replay", policy, counts, "--runs", "2", "--seed", "4", "-o", "json"]
    assert app.main(words) == 0
    found = msgspec.json.decode(capfd.readouterr().out)
    assert found["recorded"]["verdict"] == "fail"
    assert found["equal"]["failed"] == 0
    assert [trial["label"] for trial in found["worse"]] == ["5x", "5%", "50%"]


def test_faults(
    tmp_path: Path, policy: str, counts: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text("warmup: 3s\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"at": 1}\n')
    for words, said in (
        ([str(bad), counts], "bad.yml:1:1: unknown key warmup"),
        ([policy, str(rows)], "rows.jsonl: line 1: "),
        ([policy, str(tmp_path / "none")], "none cannot be read"),
        ([policy, counts, "--worse", "much"], "--worse much is not known"),
        ([policy, counts, "--worse", "101%"], "--worse 101% is more than all"),
        ([policy, counts, "--runs", "0"], "Invalid value for '--runs'"),
    ):
        assert app.main(["analysis", "replay", *words]) == 1
        shown = capfd.readouterr()
        assert said in shown.err
        assert shown.out == ""
