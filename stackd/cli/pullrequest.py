"""`stackd diff --base --head`: asks the clone in the current folder, or the cluster, and prints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from stackd.cli.connect import call
from stackd.cli.markdown import comment
from stackd.cli.output import die, print_json, print_lines
from stackd.cli.target import Target
from stackd.core.model.api import CompareAnswer, CompareRequest
from stackd.core.model.source import Repository
from stackd.errors import Refused
from stackd.git.clone import open_clone
from stackd.manager.compare import Ends, compared


@dataclass(frozen=True, slots=True)
class Clone:
    """How the clone would be followed: what `repo add` would be given."""

    path: str = ""
    name: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)


def show(where: Target, request: CompareRequest, clone: Clone, output: str) -> NoReturn:
    """Print what the head changes; leaves with 0 same, 1 differs, 2 not valid. Raises
    StackdError."""
    if not request.base or not request.head:
        raise Refused("--base and --head go together.", "Name both revisions.")
    if request.repo:
        answer = call(where, "Compare", request, CompareAnswer, "Comparing")
    else:
        answer = _offline(request, clone)
    if output == "json":
        print_json(answer)
    else:
        print_lines(comment(answer).splitlines())
    if answer.problems:
        die(2, "\n".join(answer.problems))
    raise SystemExit(1 if answer.stacks else 0)


def _offline(request: CompareRequest, clone: Clone) -> CompareAnswer:
    with open_clone(Path.cwd()) as found:
        base, head = found.resolve(request.base), found.resolve(request.head)
        repository = Repository(
            name=clone.name or found.name,
            url="",
            path=clone.path,
            variables=clone.variables,
        )
        return compared(repository, found.objects, Ends(base, head, found.common(base, head)))
