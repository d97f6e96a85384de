"""Git repositories that declare stacks: add, list, remove, sync."""

from pathlib import Path
from typing import Annotated

import typer

from stackd.cli.connect import call
from stackd.cli.options import Output, checked_output, duration, local_path, where
from stackd.cli.output import emit, print_json, print_lines
from stackd.cli.table import print_table
from stackd.core.model.api import NameRequest, RepoAddRequest, RepoRequest, RepoRow, RepoRows, Text
from stackd.errors import Refused


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("add")(add)
    app.command("ls")(listing)
    app.command("rm")(remove)
    app.command("sync")(sync)


def add(
    context: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL|PATH")],
    name: Annotated[str, typer.Option("--name", help="How the repository is called here.")],
    path: Annotated[str, typer.Option("--path", help="Folder with the stack files.")] = "",
    ref: Annotated[str, typer.Option("--ref", help="Branch or tag; default: its HEAD.")] = "",
    interval: Annotated[str, typer.Option("--interval", help="Between polls.")] = "15s",
    prune: Annotated[bool, typer.Option("--prune", help="Remove stacks whose file went.")] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Even all of them.")] = False,
    var: Annotated[list[str] | None, typer.Option("--var", metavar="K=V")] = None,
    ssh_key: Annotated[Path | None, typer.Option("--ssh-key", help="Private key file.")] = None,
    token_file: Annotated[Path | None, typer.Option("--token-file", help="Token file.")] = None,
    known_hosts: Annotated[Path | None, typer.Option("--known-hosts")] = None,
    webhook_secret_file: Annotated[
        Path | None, typer.Option("--webhook-secret-file", help="Lets its forge call /hooks/NAME.")
    ] = None,
    status: Annotated[
        str, typer.Option("--status", metavar="FORGE", help="Tell github, gitlab or gitea.")
    ] = "",
    status_url: Annotated[
        str, typer.Option("--status-url", help="The repository in its API; default: by its URL.")
    ] = "",
    status_token_file: Annotated[
        Path | None, typer.Option("--status-token-file", help="A token that may set statuses.")
    ] = None,
    revert_branch: Annotated[
        str, typer.Option("--revert-branch", help="Push the revert of a refused commit there.")
    ] = "",
    approve: Annotated[
        str, typer.Option("--approve", metavar="manual", help="Wait for `stackd approve`.")
    ] = "",
    output: Output = "text",
) -> None:
    """Follow a repository. Example: stackd repo add https://git.example/stacks.git --name ops"""
    checked_output(output)
    is_url = "://" in url or (":" in url.split("/", 1)[0] and not Path(url).exists())
    request = RepoAddRequest(
        name=name,
        url=url if is_url else str(local_path(url)),
        path=path,
        ref=ref,
        interval=duration(interval),
        prune=prune,
        allow_empty=allow_empty,
        variables=variables(var or []),
        ssh_key=_read(ssh_key),
        token=_read(token_file).strip(),
        webhook_secret=_read(webhook_secret_file).strip(),
        status=status,
        status_url=status_url,
        status_token=_read(status_token_file).strip(),
        revert_branch=revert_branch,
        approve=approve,
        known_hosts=_read(known_hosts).decode("utf-8", "replace"),
    )
    answer = call(where(context), "RepoAdd", request, Text)
    emit(answer, output, lambda a: print_lines([a.text]))


def variables(settings: list[str]) -> dict[str, str]:
    """What `--var K=V` says. Raises Refused."""
    found: dict[str, str] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise Refused(f"--var {setting!r} is not K=V.", "Example: --var TAG=1.4")
        found[key] = value
    return found


def _read(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}.", "Name a readable file."
        ) from error


def listing(context: typer.Context, output: Output = "text") -> None:
    """List repositories. Example: stackd repo ls"""
    checked_output(output)
    _show(call(where(context), "RepoList", NameRequest(), RepoRows), output)


def remove(
    context: typer.Context,
    name: str,
    prune: Annotated[bool, typer.Option("--prune", help="Remove its stacks too.")] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty")] = False,
    output: Output = "text",
) -> None:
    """Stop following a repository; its stacks run on, owned by the command line.

    Example: stackd repo rm ops
    """
    checked_output(output)
    request = RepoRequest(name=name, prune=prune, allow_empty=allow_empty)
    answer = call(where(context), "RepoRemove", request, Text)
    emit(answer, output, lambda a: print_lines([a.text]))


def sync(
    context: typer.Context,
    name: str,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is processed.")] = False,
    pull: Annotated[bool, typer.Option("--pull", help="Resolve all tags again.")] = False,
    output: Output = "text",
) -> None:
    """Look at a repository now. Example: stackd repo sync ops --wait"""
    checked_output(output)
    request = RepoRequest(name=name, wait=wait, pull=pull)
    doing = f"Waiting until {name} is processed" if wait else f"Asking for {name}"
    _show(call(where(context), "RepoSync", request, RepoRows, doing), output)


def _show(rows: RepoRows, output: str) -> None:
    if output == "json":
        print_json(rows.repositories)
        return
    print_table(
        ("name", "ref", "commit", "checked", "stacks", "url"),
        (
            (r.name, r.ref or "HEAD", r.commit[:12], r.checked, ",".join(r.stacks), r.url)
            for r in rows.repositories
        ),
    )
    for row in rows.repositories:
        print_lines(_troubles(row))


def _troubles(row: RepoRow) -> list[str]:
    found = [f"{row.name}: {row.error}"] if row.error else []
    if row.waiting:
        found.append(f"{row.name}: commit {row.waiting[:12]} waits for approval:")
        found += [f"    {line}" for line in row.planned]
        found.append(f"    stackd approve {row.name} {row.plan}")
    found += [f"{row.name}: {problem}" for problem in row.problems]
    return found + [f"{row.name}: {revert}" for revert in row.reverts]
