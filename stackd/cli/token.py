"""Join tokens: show, rotate. Tokens for the JSON API: create, ls, rm."""

from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, duration, where
from stackd.cli.output import emit, print_lines
from stackd.cli.table import print_table
from stackd.core.model.access import Scope
from stackd.core.model.api import (
    NameRequest,
    Text,
    TokenCreated,
    TokenCreateRequest,
    TokenRequest,
    TokenRow,
    TokenRows,
)
from stackd.errors import Refused

Role = Annotated[str, typer.Argument(metavar="worker|manager")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @app.command("show")
    def show(context: typer.Context, role: Role, output: Output = "text") -> None:
        """Print the token that lets a machine join. Example: stackd token show worker"""
        _ask(context, "TokenShow", role, output)

    @app.command("rotate")
    def rotate(context: typer.Context, role: Role, output: Output = "text") -> None:
        """Make a token void and print the new one; members stay members.

        Example: stackd token rotate worker
        """
        _ask(context, "TokenRotate", role, output)

    @app.command("create")
    def create(
        context: typer.Context,
        name: Annotated[str, typer.Option("--name", help="What events call its bearer.")],
        scope: Annotated[
            list[str],
            typer.Option("--scope", help="read, deploy, promote, abort, flags, approve; repeated."),
        ],
        stack: Annotated[
            list[str], typer.Option("--stack", help="A stack; repeated. '*' is every stack.")
        ],
        expires: Annotated[str, typer.Option("--expires", metavar="DURATION")] = "30d",
        output: Output = "text",
    ) -> None:
        """Make a token for the JSON API; it is shown this once.

        Example: stackd token create --name ci --scope deploy --scope promote --stack shop
        """
        checked_output(output)
        request = TokenCreateRequest(
            name=name,
            scopes=tuple(_scope(word) for words in scope for word in words.split(",")),
            stacks=tuple(word for words in stack for word in words.split(",")),
            seconds=duration(expires),
        )
        answer = call(where(context), "TokenCreate", request, TokenCreated)
        emit(answer, output, lambda a: print_lines([a.token]))

    @app.command("ls")
    def ls(context: typer.Context, output: Output = "text") -> None:
        """List the tokens of the JSON API. Example: stackd token ls"""
        checked_output(output)
        answer = call(where(context), "TokenList", NameRequest(), TokenRows)
        emit(answer.tokens, output, _table)

    @app.command("rm")
    def rm(context: typer.Context, name: str, output: Output = "text") -> None:
        """Make a token of the JSON API void at once. Example: stackd token rm ci"""
        checked_output(output)
        answer = call(where(context), "TokenRemove", NameRequest(name=name), Text)
        emit(answer, output, lambda a: print_lines([a.text]))


def _table(tokens: tuple[TokenRow, ...]) -> None:
    print_table(
        ("name", "scopes", "stacks", "expires", "by"),
        ((t.name, ",".join(t.scopes), ",".join(t.stacks), _expiry(t), t.by) for t in tokens),
    )


def _expiry(token: TokenRow) -> str:
    return f"{token.expires} (over)" if token.expired else token.expires


def _scope(word: str) -> Scope:
    try:
        return Scope(word)
    except ValueError as error:
        raise Refused(
            f"{word!r} is not a scope.", f"They are: {', '.join(s.value for s in Scope)}."
        ) from error


def _ask(context: typer.Context, method: str, role: str, output: str) -> None:
    checked_output(output)
    answer = call(where(context), method, TokenRequest(role=role), Text)
    document = {"role": role, "token": answer.text}
    emit(document, output, lambda a: print_lines([a["token"]]))
