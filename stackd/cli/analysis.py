"""Try analysis policies on recorded counts."""

import random
import re
from pathlib import Path
from typing import Annotated

import typer

from stackd.cli.options import Output, checked_output
from stackd.cli.output import emit, print_lines
from stackd.core.analysis.estimate import span
from stackd.core.analysis.recording import Row, parse
from stackd.core.analysis.replay import Ended, Plan, Replayed, Trial, Worse, replay
from stackd.core.model.analysis import Verdict
from stackd.core.spec.context import SourceFile
from stackd.core.spec.policyfile import load_policy
from stackd.errors import InvalidSpec, Refused

LIMIT = 256 * 1024 * 1024
"""Bytes read of a recording."""
_WORSE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(x|%)")


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.callback()
    def group() -> None:
        """Try analysis policies on recorded counts."""

    @app.command("replay")
    def replayed(
        policy: Annotated[
            str, typer.Argument(metavar="POLICY", help="YAML: the keys of analysis.")
        ],
        data: Annotated[
            str, typer.Argument(metavar="DATA", help="Recorded counts: .csv, or JSON lines.")
        ],
        worse: Annotated[
            list[str] | None,
            typer.Option("--worse", help="Errors added: 5x, 5%. Repeat it.", metavar="HOW"),
        ] = None,
        runs: Annotated[int, typer.Option("--runs", min=1, help="Analyses of each kind.")] = 100,
        seed: Annotated[int, typer.Option("--seed", help="Another seed, other chance.")] = 1,
        output: Output = "text",
    ) -> None:
        """Print false aborts and detection times of a policy. Offline, no root.

        DATA has a row for each instance and time: at (seconds, or RFC 3339), instance, role
        (stable or canary), requests, errors, and if known latency (seconds, at the policy's
        quantile). CSV has these names in its first line, JSON lines have them as keys.

        Example: stackd analysis replay policy.yml counts.csv --worse 3x --worse 5%
        """
        checked_output(output)
        kinds = tuple(_worse(text) for text in worse or ("5x", "5%", "50%"))
        found, problems = load_policy(SourceFile(policy, _read(policy)))
        if found is None:
            raise InvalidSpec(problems)
        answer = replay(found, _rows(data), Plan(kinds, runs), random.Random(seed).random)
        emit(answer, output, show)


def _worse(text: str) -> Worse:
    match = _WORSE.fullmatch(text)
    if match is None:
        raise Refused(f"--worse {text} is not known.", "Write it like 5x or 5%.")
    number = float(match[1])
    if match[2] == "x":
        return Worse(times=number)
    if number > 100:
        raise Refused(f"--worse {text} is more than all.", "Write at most 100%.")
    return Worse(rate=number / 100)


def _read(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror}.", "Name a file.") from error


def _rows(name: str) -> list[Row]:
    data = _read(name)
    if len(data) > LIMIT:
        raise Refused(f"{name} is longer than 256 MiB.", "Replay a part of it.")
    try:
        return parse(data.decode("utf-8"), name.endswith(".csv"))
    except ValueError as error:
        text = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise Refused(
            f"{name}: {text}.", "`stackd analysis replay --help` has the form."
        ) from error


def show(answer: Replayed) -> None:
    """The answer for people."""
    lines = [
        f"{answer.requests:,} requests in {span(answer.seconds)}, {answer.instances} stable"
        f" instances, {answer.errors:.3%} errors on stable, blocks of {answer.block}",
        *(f"note: {note}" for note in answer.notes),
    ]
    if answer.recorded is not None:
        lines.append(f"as recorded   {_ended(answer.recorded)}")
    if answer.equal is not None:
        lines.append(f"no worse      {_trial(answer.equal, 'false aborts')}")
    lines += [f"errors {t.label:<6} {_trial(t, 'found')}" for t in answer.worse]
    print_lines(lines)


def _ended(end: Ended) -> str:
    reason = f": {end.reason}" if end.reason else ""
    return f"{end.verdict.value} after {span(end.seconds)}{reason}"


def _trial(trial: Trial, failed: str) -> str:
    median = "" if trial.fail_seconds is None else f", median {span(trial.fail_seconds)}"
    passed = "" if trial.pass_seconds is None else f", median {span(trial.pass_seconds)}"
    share = trial.failed / trial.runs
    return (
        f"{failed} {trial.failed} of {trial.runs} ({share:.1%}{median});"
        f" {Verdict.PASS.value} {trial.passed}{passed}; undecided {trial.undecided}"
    )
