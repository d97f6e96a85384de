"""`promote.sh` and `abort.sh` of `examples/ci` touch only the rollout of their own release."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).resolve().parents[2] / "examples" / "ci"
API = """#!/bin/sh
echo "$1 $2${3:+ $3}" >> asked
case $2 in
*/wait*) echo "$WAIT" ;;
*/web) echo "$STATUS" ;;
esac
"""
SERVICE = "/v1/stacks/shop/services/web"


def ran(folder: Path, script: str, **environment: object) -> tuple[int, list[str]]:
    """The exit code, and what it asked the API for, whose answers are given."""
    for name in ("promote.sh", "abort.sh", "wait.sh"):
        shutil.copy(CI / name, folder)
    (folder / "api.sh").write_text(API)
    given = {name: json.dumps(value) for name, value in environment.items()}
    done = subprocess.run(
        ("sh", script, "shop/web", "applied.json"),
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **given},
        capture_output=True,
        check=False,
        timeout=60,
    )
    asked = folder / "asked"
    return done.returncode, asked.read_text().splitlines() if asked.exists() else []


@pytest.mark.parametrize(
    ("answer", "rollout", "aborted"),
    [
        ({"release": 7}, {"release": 7, "phase": "progressing", "target": "b"}, True),
        ({"release": 7}, {"release": 8, "phase": "progressing"}, False),
        ({"release": 7}, {"release": 7, "phase": "complete"}, False),
        ({"release": 7}, None, False),
        ({"title": "3 problems in stack files."}, {"release": 8, "phase": "progressing"}, False),
        (None, {"release": 8, "phase": "progressing"}, False),
    ],
    ids=["own", "of somebody else", "over", "none", "refused", "no answer"],
)
def test_abort(tmp_path: Path, answer: object, rollout: object, aborted: bool) -> None:
    if answer is not None:
        (tmp_path / "applied.json").write_text(json.dumps(answer))
    code, asked = ran(tmp_path, "abort.sh", STATUS={"phase": "paused", "rollout": rollout})
    assert code == 0
    posted = f'POST {SERVICE}/abort {{"revision":"b"}}'
    assert asked == [f"GET {SERVICE}", *([posted] if aborted else [])]


@pytest.mark.parametrize(("code", "promoted"), [(0, False), (2, False), (3, True), (5, False)])
def test_promote(tmp_path: Path, code: int, promoted: bool) -> None:
    (tmp_path / "applied.json").write_text(json.dumps({"release": 7}))
    status = {"rollout": {"release": 7, "target": "b"}, "step": 1, "phase": "paused"}
    ended, asked = ran(tmp_path, "promote.sh", WAIT={"code": code, "text": "x"}, STATUS=status)
    assert ended == (0 if promoted else code)
    assert asked[0].startswith(f"GET {SERVICE}/wait?")
    assert asked[0].endswith("&release=7")
    posted = [f"GET {SERVICE}", f'POST {SERVICE}/promote {{"revision":"b","step":1}}']
    assert asked[1:] == (posted if promoted else [])


def test_what_has_superseded_it_since_it_waited_is_not_promoted(tmp_path: Path) -> None:
    (tmp_path / "applied.json").write_text(json.dumps({"release": 7}))
    status = {"rollout": {"release": 8, "target": "c"}, "step": 1, "phase": "paused"}
    ended, asked = ran(tmp_path, "promote.sh", WAIT={"code": 3, "text": "x"}, STATUS=status)
    assert (ended, asked[1:]) == (5, [f"GET {SERVICE}"])


def test_nothing_was_declared(tmp_path: Path) -> None:
    (tmp_path / "applied.json").write_text(json.dumps({"title": "no token"}))
    assert ran(tmp_path, "promote.sh") == (1, [])
