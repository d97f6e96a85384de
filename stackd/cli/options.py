"""Options that several verbs share, spelled once."""

import re
from pathlib import Path
from typing import Annotated

import typer

from stackd.cli.target import Target
from stackd.errors import Refused

Output = Annotated[
    str,
    typer.Option("-o", "--output", help="text or json", metavar="FORMAT", show_default=False),
]
Wait = Annotated[bool, typer.Option("--wait", help="Return when it is done, with its exit code.")]
Timeout = Annotated[
    str, typer.Option("--timeout", help="How long --wait waits.", metavar="DURATION")
]
Files = Annotated[
    list[str] | None,
    typer.Option("-f", "--file", help="A stack file; repeated ones are merged; - is stdin."),
]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def duration(text: str) -> float:
    """Seconds of `90s`, `1h30m`, `15`. Raises Refused for anything else."""
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(p.group() for p in parts) != text:
        raise Refused(f"{text!r} is not a duration.", "Write it like 90s, 15m or 1h30m.")
    return sum(float(p.group(1)) * _UNITS[p.group(2)] for p in parts)


def where(context: typer.Context) -> Target:
    """The cluster chosen by the global options."""
    found = context.find_root().obj
    assert isinstance(found, Target)
    return found


def checked_output(output: str) -> str:
    """`text` or `json`; Refused otherwise."""
    if output not in ("text", "json"):
        raise Refused(f"-o {output} is not known.", "Use -o json, or leave it out.")
    return output


def local_path(text: str) -> Path:
    """An absolute path of something the user named relative to where they stand."""
    return Path(text).expanduser().absolute()
