"""Secrets and configs made by hand: create, list, inspect, remove."""

import sys
from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, local_path, where
from stackd.cli.output import emit, print_json, print_lines
from stackd.cli.table import print_table
from stackd.core.model.api import ContentRequest, ContentRows, Text
from stackd.errors import Refused


def register(app: typer.Typer, kind: str) -> None:
    """Add the verbs for `kind`: secret or config."""

    @app.command(
        "create",
        help=f"Create a {kind}, or give it a new version, from FILE or - (stdin). "
        f"Example: stackd {kind} create key key.txt",
    )
    def create(
        context: typer.Context,
        name: str,
        source: Annotated[str, typer.Argument(metavar="FILE|-")],
        output: Output = "text",
    ) -> None:
        checked_output(output)
        request = ContentRequest(kind=kind, name=name, value=_read(source))
        answer = call(where(context), "ContentCreate", request, Text)
        emit(answer, output, lambda a: print_lines([a.text]))

    @app.command("ls", help=f"List {kind}s; never their values. Example: stackd {kind} ls")
    def listing(context: typer.Context, output: Output = "text") -> None:
        checked_output(output)
        rows = call(where(context), "ContentList", ContentRequest(kind=kind), ContentRows)
        _show(rows, output)

    @app.command(
        "inspect",
        help=f"Show one {kind}, its versions and who uses it. Example: stackd {kind} inspect key",
    )
    def inspect(context: typer.Context, name: str, output: Output = "text") -> None:
        checked_output(output)
        request = ContentRequest(kind=kind, name=name, show=True)
        rows = call(where(context), "ContentInspect", request, ContentRows)
        _show(rows, output)
        for item in rows.items:
            if output != "json" and item.value is not None:
                print_lines(["", *item.value.splitlines()])

    @app.command(
        "rm",
        help=f"Remove a {kind} that nothing uses, or revoke one version. "
        f"Example: stackd {kind} rm key",
    )
    def remove(
        context: typer.Context,
        name: str,
        version: Annotated[str, typer.Option("--version", help="Revoke only this one.")] = "",
        output: Output = "text",
    ) -> None:
        checked_output(output)
        request = ContentRequest(kind=kind, name=name, version=version)
        answer = call(where(context), "ContentRemove", request, Text)
        emit(answer, output, lambda a: print_lines([a.text]))


def _read(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return local_path(source).read_bytes()
    except OSError as error:
        raise Refused(
            f"{source} cannot be read: {error.strerror}.", "Name a file, or - for stdin."
        ) from error


def _show(rows: ContentRows, output: str) -> None:
    if output == "json":
        print_json(rows.items)
        return
    print_table(
        ("name", "version", "versions", "stack", "created", "size", "used by"),
        (
            (i.name, i.version, len(i.versions), i.stack, i.created, i.size, " ".join(i.used_by))
            for i in rows.items
        ),
    )
