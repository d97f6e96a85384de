"""What a reference means at the remote now: questions that need no mirror.

Asked by `git.repo`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stackd.errors import Refused
from stackd.git.answers import translate
from stackd.git.environment import NETWORK_TIMEOUT, Git
from stackd.git.urls import COMMIT, check_ref


@dataclass(frozen=True, slots=True)
class Remote:
    """What a reference means at the remote now. `ref` is its whole name there."""

    ref: str
    commit: str


async def ls_remote(git: Git, ref: str) -> Remote:
    """Ask the remote. Raises Refused (no such branch or tag, no access) or Unavailable."""
    names = _candidates(check_ref(ref))
    done = await git.run(
        ["ls-remote", "--quiet", "--", git.address.url, *names],
        timeout=NETWORK_TIMEOUT,
        network=True,
    )
    if done.code:
        raise translate(done, git.address.host)
    found = dict(_rows(done.stdout))
    for name in names:
        if name in found:
            return Remote(name.removesuffix("^{}"), found[name])
    raise Refused(
        f"The repository has no branch or tag {ref}." if ref else "The repository is empty.",
        "Push a commit there, or change --ref.",
    )


async def followed(git: Git, ref: str) -> str:
    """The whole name of what `ref` means at the remote: the branch of its HEAD for ''. Raises
    Refused or Unavailable."""
    if ref:
        return (await ls_remote(git, ref)).ref
    done = await git.run(
        ["ls-remote", "--quiet", "--symref", "--", git.address.url, "HEAD"],
        timeout=NETWORK_TIMEOUT,
        network=True,
    )
    if done.code:
        raise translate(done, git.address.host)
    found = re.search(r"^ref: (\S+)\tHEAD$", done.stdout.decode("utf-8", "replace"), re.M)
    return found.group(1) if found else "HEAD"


def _candidates(ref: str) -> Sequence[str]:
    """Whole names that a reference may mean, best first; `^{}` is what a tag points at."""
    if not ref:
        return ["HEAD"]
    if ref.startswith("refs/"):
        return [f"{ref}^{{}}", ref]
    return [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"]


def _rows(output: bytes) -> Sequence[tuple[str, str]]:
    """(name, commit) of each line; what is not exactly that is left out."""
    rows = []
    for line in output.decode("utf-8", "replace").splitlines():
        commit, _, name = line.partition("\t")
        if COMMIT.fullmatch(commit):
            rows.append((name, commit))
    return rows
