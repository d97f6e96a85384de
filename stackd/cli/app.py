"""The command line: one file per verb, put together here. Called by `stackd.__main__`.

Only the file of the verb that is asked for is loaded, so that `stackd ps` does not wait for the
stack file parser; help and completion load all of them.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
import typer.exceptions

from stackd import __version__
from stackd.cli.connect import target
from stackd.cli.output import print_error
from stackd.errors import StackdError

VERBS: Mapping[str, tuple[str, ...]] = {
    "up": ("up",),
    "down": ("down",),
    "validate": ("validate",),
    "diff": ("diff",),
    "plan": ("plan",),
    "apply": ("apply",),
    "wait": ("wait",),
    "status": ("status",),
    "why": ("why",),
    "history": ("history",),
    "events": ("events",),
    "listing": ("ls",),
    "ps": ("ps",),
    "logs": ("logs",),
    "exec_": ("exec",),
    "scale": ("scale",),
    "remove": ("rm",),
    "adopt": ("adopt",),
    "rollouts": ("abort", "pause", "resume", "retry", "promote", "rollback"),
    "doctor": ("doctor",),
}
"""File -> the verbs that its `register` adds."""
NOUNS = ("repo", "image", "registry", "node", "network", "volume", "cluster")
CONTENTS = ("secret", "config")


def options(
    context: typer.Context,
    data: Annotated[
        Path | None, typer.Option("--data", help="The cluster's data folder (STACKD_DATA).")
    ] = None,
    remote: Annotated[
        str | None, typer.Option("--context", help="A remote cluster (STACKD_HOST).")
    ] = None,
) -> None:
    """Options that say which cluster is meant."""
    context.obj = target(data, remote)


def version() -> None:
    """Print the version."""
    print(f"stackd {__version__}")


def build(verb: str) -> typer.Typer:
    """The application with one verb; with every verb when it has none of that name."""
    app = typer.Typer(
        name="stackd",
        help="Deploys stacks of containers from Git, a file or a pipeline.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    app.command("version")(version)
    known = {*NOUNS, *CONTENTS, *(word for words in VERBS.values() for word in words)}
    every = verb not in known
    for name, words in VERBS.items():
        if every or verb in words:
            importlib.import_module(f"stackd.cli.{name}").register(app)
    for noun in NOUNS:
        if every or verb == noun:
            module = importlib.import_module(f"stackd.cli.{noun}")
            group = typer.Typer(no_args_is_help=True, help=(module.__doc__ or "").split("\n")[0])
            module.register(group)
            app.add_typer(group, name=noun)
    for kind in CONTENTS:
        if every or verb == kind:
            module = importlib.import_module("stackd.cli.content")
            text = f"Create, list, inspect and remove {kind}s."
            group = typer.Typer(no_args_is_help=True, help=text)
            module.register(group, kind)
            app.add_typer(group, name=kind)
    return app


def verb_of(arguments: Sequence[str]) -> str:
    """The verb that is asked for: the first argument that is neither an option nor the value of
    one; '' when there is none."""
    rest = iter(arguments)
    for argument in rest:
        if argument in ("--data", "--context"):
            next(rest, None)
        elif not argument.startswith("-"):
            return argument
    return ""


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code. Never prints a traceback for a foreseen failure."""
    verb = verb_of(arguments)
    usage_code = 2 if verb == "diff" else 1
    try:
        code = build(verb)(args=list(arguments), prog_name="stackd", standalone_mode=False)
    except typer.exceptions.TyperException as error:
        _print_usage(error)
        return usage_code
    except StackdError as error:
        print_error(error)
        return usage_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0


def _print_usage(error: typer.exceptions.TyperException) -> None:
    """What is wrong with the words of a command, or the help that stands for an empty one."""
    text = error.format_message()
    if text.startswith("Usage:"):
        print(text, file=sys.stderr)
        return
    command = getattr(error, "ctx", None)
    print(f"stackd: {text}", file=sys.stderr)
    print(f"        See: {command.command_path if command else 'stackd'} --help", file=sys.stderr)
