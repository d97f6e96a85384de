"""The command line: one file per verb, put together here. Called by `stackd.__main__`.

Only the file of the verb that is asked for is loaded, so that `stackd ps` does not wait for the
stack file parser; help and completion load all of them.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.exceptions

from stackd.cli.output import clean, print_error
from stackd.cli.target import target
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
    "approve": ("approve",),
    "freeze": ("freeze", "unfreeze"),
    "rollouts": ("abort", "pause", "resume", "retry", "promote", "rollback"),
    "doctor": ("doctor",),
    "version": ("version",),
}
"""File -> the verbs that its `register` adds."""
NOUNS = (
    *("repo", "image", "registry", "node", "network", "volume", "cluster", "token", "rehearse"),
    *("analysis", "flag"),
)
CONTENTS = ("secret", "config")
LATER: Mapping[str, tuple[str, ...]] = {
    "": (
        *("init", "join", "leave", "ca", "lock", "unlock"),
        *("backup", "restore", "ui"),
    ),
    "image": ("push", "history", "prune", "build", "sign", "verify", "scan"),
    "node": ("promote", "demote", "rm"),
    "cluster": ("set",),
    "secret": ("seal",),
}
"""Noun, or nothing -> verbs that answer "not supported yet"."""
INTERRUPTED = 130


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
    known = {*NOUNS, *CONTENTS, *LATER[""], *(word for words in VERBS.values() for word in words)}
    every = verb not in known
    for name, words in VERBS.items():
        if every or verb in words:
            _load(name).register(app)
    for noun in (*NOUNS, *CONTENTS):
        if every or verb == noun:
            app.add_typer(_group(noun), name=noun)
    if every or verb in LATER[""]:
        _load("later").add(app, LATER[""])
    return app


def _group(noun: str) -> typer.Typer:
    if noun in CONTENTS:
        group = typer.Typer(no_args_is_help=True, help=f"Create, list, inspect and remove {noun}s.")
        _load("content").register(group, noun)
    else:
        module = _load(noun)
        group = typer.Typer(no_args_is_help=True, help=(module.__doc__ or "").split("\n")[0])
        module.register(group)
    if noun in LATER:
        _load("later").add(group, LATER[noun], noun)
    return group


def _load(name: str) -> Any:
    return importlib.import_module(f"stackd.cli.{name}")


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


def completed_words(environment: Mapping[str, str]) -> list[str]:
    """The words that a shell asks to complete, without `stackd`; none in an ordinary call."""
    if "_STACKD_COMPLETE" not in environment:
        return []
    words = environment.get("COMP_WORDS") or environment.get("_TYPER_COMPLETE_ARGS") or ""
    return words.split()[1:]


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code. Prints one sentence of cause and one of what to do
    for every failure; a traceback only with STACKD_DEBUG set, and then only for our own faults."""
    verb = verb_of(arguments or completed_words(os.environ))
    usage_code = 2 if verb == "diff" else 1
    try:
        code = build(verb)(args=list(arguments), prog_name="stackd", standalone_mode=False)
        sys.stdout.flush()
    except typer.exceptions.TyperException as error:
        _print_usage(error)
        return usage_code
    except StackdError as error:
        print_error(error)
        return usage_code
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return 1
    except Exception as error:
        if os.environ.get("STACKD_DEBUG"):
            raise
        print_error(_fault(error))
        return usage_code
    return code if isinstance(code, int) else 0


def _fault(error: Exception) -> StackdError:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return StackdError(f"{place}{error.strerror}.", "Correct this and try again.")
    return StackdError(
        f"stackd itself failed: {type(error).__name__}: {error}.",
        "Please report it, with what STACKD_DEBUG=1 shows.",
    )


def _drop_output() -> None:
    """Nobody reads any more: what is still buffered must not fail again at the interpreter's
    end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _print_usage(error: typer.exceptions.TyperException) -> None:
    """What is wrong with the words of a command, or the help that stands for an empty one."""
    text = error.format_message()
    if text.startswith("Usage:"):
        print(text, file=sys.stderr)
        return
    command = getattr(error, "ctx", None)
    print(f"stackd: {clean(text)}", file=sys.stderr)
    print(f"        See: {command.command_path if command else 'stackd'} --help", file=sys.stderr)
