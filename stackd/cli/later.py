"""Verbs that are planned: each answers "not supported yet" in one sentence, and is not listed."""

from collections.abc import Sequence

import typer

from stackd.errors import Refused


def add(app: typer.Typer, verbs: Sequence[str], noun: str = "") -> None:
    """Add hidden verbs that take any arguments and refuse."""
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    for verb in verbs:
        _add(app, verb, f"{noun} {verb}".strip(), anything)


def _add(app: typer.Typer, verb: str, name: str, settings: dict[str, bool]) -> None:
    @app.command(verb, hidden=True, context_settings=settings)
    def later() -> None:
        raise Refused(f"`stackd {name}` is not supported yet.", "See what is: stackd --help")
