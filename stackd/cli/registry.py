"""Credentials of registries: login, list, logout."""

import getpass
import sys
from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, where
from stackd.cli.output import emit, print_json, print_lines
from stackd.cli.table import print_table
from stackd.core.model.api import LoginRequest, NameRequest, RegistryRows, Text


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("login")
    def login(
        context: typer.Context,
        host: str,
        username: Annotated[str, typer.Option("-u", "--username")],
        password_stdin: Annotated[
            bool, typer.Option("--password-stdin", help="Read the password from stdin.")
        ] = False,
        insecure: Annotated[
            bool, typer.Option("--insecure", help="Plain HTTP or an unchecked certificate.")
        ] = False,
        output: Output = "text",
    ) -> None:
        """Keep credentials for a registry, sealed in the store.

        Example: stackd registry login registry.example -u ci
        """
        checked_output(output)
        asked = sys.stdin.read().strip() if password_stdin else getpass.getpass("Password: ")
        request = LoginRequest(host=host, username=username, password=asked, insecure=insecure)
        answer = call(where(context), "RegistryLogin", request, Text)
        emit(answer, output, lambda a: print_lines([a.text]))

    @app.command("ls")
    def listing(context: typer.Context, output: Output = "text") -> None:
        """List registries with kept credentials. Example: stackd registry ls"""
        checked_output(output)
        rows = call(where(context), "RegistryList", NameRequest(), RegistryRows)
        if output == "json":
            print_json(rows.registries)
            return
        print_table(
            ("host", "username", "insecure"),
            ((r["host"], r["username"], r.get("insecure", "")) for r in rows.registries),
        )

    @app.command("logout")
    def logout(context: typer.Context, host: str, output: Output = "text") -> None:
        """Forget the credentials of a registry. Example: stackd registry logout registry.example"""
        checked_output(output)
        answer = call(where(context), "RegistryLogout", NameRequest(name=host), Text)
        emit(answer, output, lambda a: print_lines([a.text]))
