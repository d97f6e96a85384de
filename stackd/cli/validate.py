"""`stackd validate`: are these stack files sound? Offline, no root, no cluster."""

from typing import Annotated

import msgspec
import typer

from stackd.cli.files import Asked, problems_of, stack_files
from stackd.cli.options import Output, checked_output
from stackd.cli.output import die, print_json, print_lines
from stackd.core.model.record import Value
from stackd.errors import Problem


class Row(Value, frozen=True, kw_only=True, omit_defaults=False):
    """One problem, as JSON."""

    file: str
    line: int
    column: int
    text: str
    path: str
    warning: bool


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @app.command("validate")
    def validate(
        paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files or folders.")],
        lenient: Annotated[
            bool, typer.Option("--lenient", help="Compose keys stackd lacks only warn.")
        ] = False,
        output: Output = "text",
    ) -> None:
        """Check stack files. Exit code 0: valid, 1: not. Example: stackd validate stacks/"""
        checked_output(output)
        files = stack_files(paths)
        if not files:
            die(1, f"stackd: there are no stack files in {', '.join(paths)}.")
        problems = [p for f in files for p in problems_of(Asked([f], lenient=lenient))]
        if output == "json":
            print_json([_row(p) for p in problems])
        else:
            print_lines(str(p) for p in problems)
            bad = {p.file for p in problems if not p.warning}
            print_lines([f"{len(files) - len(bad)} of {len(files)} valid."])
        raise SystemExit(1 if any(not p.warning for p in problems) else 0)


def _row(problem: Problem) -> Row:
    return msgspec.convert(
        {name: getattr(problem, name) for name in Row.__struct_fields__}, type=Row
    )
