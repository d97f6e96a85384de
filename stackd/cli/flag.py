"""Feature toggles: what they are, and a share set by hand."""

import re

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_lines
from stackd.cli.table import print_table
from stackd.core.model.api import FlagRequest, FlagRow, FlagRows, NameRequest, Text
from stackd.errors import Refused

_SHARE = re.compile(r"(100(?:\.0{1,2})?|[0-9]{1,2}(?:\.[0-9]{1,2})?)%")
_WORDS = {"on": 10_000, "off": 0, "declared": None}


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("ls")
    def listing(
        context: typer.Context,
        name: str = typer.Argument("", metavar="[STACK[/SERVICE]]"),
        output: Output = "text",
    ) -> None:
        """List feature toggles as they act now. Example: stackd flag ls shop"""
        checked_output(output)
        answer = call(where(context), "FlagList", NameRequest(name=name), FlagRows)
        emit(answer.flags if output == "json" else answer, output, lambda a: _show(a.flags))

    @app.command("set")
    def set_(context: typer.Context, setting: str, output: Output = "text") -> None:
        """Set STACK/SERVICE/TOGGLE=SHARE: 25%, on, off, or declared to end what was set by hand.

        Example: stackd flag set shop/web/new_checkout=25%
        """
        checked_output(output)
        name, equals, share = setting.partition("=")
        if not equals or name.count("/") != 2:
            raise Refused(
                f"{setting!r} is not STACK/SERVICE/TOGGLE=SHARE.",
                "Example: stackd flag set shop/web/new_checkout=25%",
            )
        request = FlagRequest(name=name, share=_share(share))
        answer = call(where(context), "FlagSet", request, Text)
        emit(answer, output, lambda a: print_lines([a.text]))


def _share(text: str) -> int | None:
    if text in _WORDS:
        return _WORDS[text]
    found = _SHARE.fullmatch(text)
    if found is None:
        raise Refused(
            f"{text!r} is not a share.", "Write 0% to 100%, in hundredths at most, or on, off."
        )
    return round(float(found[1]) * 100)


def _show(toggles: tuple[FlagRow, ...]) -> None:
    headers = ("toggle", "reaches", "declared", "rules", "since", "asked", "")
    print_table(headers, [_line(toggle) for toggle in toggles])


def _line(toggle: FlagRow) -> tuple[str, ...]:
    by = f"by {toggle.override['by']} at {toggle.override['at']}" if toggle.override else ""
    return (
        f"{toggle.stack}/{toggle.service}/{toggle.feature}",
        f"{toggle.share / 100:g}%",
        f"{toggle.declared / 100:g}%",
        "; ".join(toggle.rules) or "-",
        toggle.since or "-",
        toggle.asked or "-",
        by or _standing(toggle) or _remark(toggle),
    )


def _remark(toggle: FlagRow) -> str:
    """Why it could be taken out."""
    return ", ".join(w for w, so in (("stale", toggle.stale), ("unused", toggle.unused)) if so)


def _standing(toggle: FlagRow) -> str:
    """Where it is on its way to the declared share."""
    return "" if toggle.phase in ("", "healthy") else f"{toggle.phase}: {toggle.reason}"
