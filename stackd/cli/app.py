"""The command line: one file per verb, put together here. Called by `stackd.__main__`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import click
import typer

from stackd import __version__
from stackd.cli import (
    adopt,
    apply,
    cluster,
    content,
    diff,
    doctor,
    down,
    events,
    exec_,
    history,
    image,
    listing,
    logs,
    network,
    node,
    plan,
    ps,
    registry,
    remove,
    repo,
    rollouts,
    scale,
    status,
    up,
    validate,
    volume,
    wait,
    why,
)
from stackd.cli.connect import target
from stackd.cli.output import print_error
from stackd.errors import StackdError

app = typer.Typer(
    name="stackd",
    help="Deploys stacks of containers from Git, a file or a pipeline.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
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


@app.command("version")
def version() -> None:
    """Print the version."""
    print(f"stackd {__version__}")


for verb in (
    up,
    down,
    validate,
    diff,
    plan,
    apply,
    wait,
    status,
    why,
    history,
    events,
    listing,
    ps,
    logs,
    exec_,
    scale,
    remove,
    adopt,
    rollouts,
    doctor,
):
    verb.register(app)
for noun, module in (
    ("repo", repo),
    ("image", image),
    ("registry", registry),
    ("node", node),
    ("network", network),
    ("volume", volume),
    ("cluster", cluster),
):
    group = typer.Typer(no_args_is_help=True, help=(module.__doc__ or "").split("\n")[0])
    module.register(group)
    app.add_typer(group, name=noun)
for kind in ("secret", "config"):
    group = typer.Typer(no_args_is_help=True, help=f"Create, list, inspect and remove {kind}s.")
    content.register(group, kind)
    app.add_typer(group, name=kind)


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code. Never prints a traceback for a foreseen failure."""
    usage_code = 2 if "diff" in [a for a in arguments if not a.startswith("-")][:2] else 1
    try:
        code = app(args=list(arguments), prog_name="stackd", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return usage_code
    except click.UsageError as error:
        print(f"stackd: {error.format_message()}", file=sys.stderr)
        hint = error.ctx.command_path if error.ctx else "stackd"
        print(f"        See: {hint} --help", file=sys.stderr)
        return usage_code
    except click.ClickException as error:
        print(f"stackd: {error.format_message()}", file=sys.stderr)
        return usage_code
    except StackdError as error:
        print_error(error)
        return usage_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0
