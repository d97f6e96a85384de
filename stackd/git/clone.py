"""A person's own clone, read by object: for `stackd diff --base --head`, without root or cluster.

Nothing is fetched and nothing written. git's own check of the folder's owner stays in force.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import git
import git.exc

from stackd.errors import Refused, Unavailable
from stackd.git.trees import DAMAGED, Damaged, Objects


class Clone:
    """An open clone. `name` is its folder's."""

    def __init__(self, repo: git.Repo, objects: Objects) -> None:
        self._repo = repo
        self.objects = objects
        self.name = Path(repo.working_tree_dir or repo.git_dir).name.removesuffix(".git")

    def resolve(self, revision: str) -> str:
        """The commit that a branch, tag or commit id means here. Raises Refused."""
        names = (revision, f"origin/{revision}")
        found = "" if revision.startswith("-") else next(filter(None, map(self._commit, names)), "")
        if not found:
            raise Refused(
                f"There is no revision {revision[:80]!r} in this clone.",
                "Fetch it, or name a branch, tag or commit that `git log` knows.",
            )
        return found

    def _commit(self, name: str) -> str:
        return self._ask("rev_parse", "--verify", "--quiet", f"{name}^{{commit}}")

    def common(self, base: str, head: str) -> str:
        """The newest commit that both build on; '' when this clone has none."""
        return self._ask("merge_base", base, head)

    def _ask(self, command: str, *arguments: str) -> str:
        """What git prints; '' when it finds nothing. Raises Refused."""
        try:
            return str(getattr(self._repo.git, command)(*arguments)).strip()
        except git.exc.GitCommandError as error:
            if "dubious ownership" in str(error.stderr):
                raise Refused(
                    "This clone belongs to another user, so git does not read it.",
                    "See `git help config`, safe.directory.",
                ) from error
            return ""


@contextmanager
def open_clone(folder: Path) -> Iterator[Clone]:
    """The clone that `folder` is in. Raises Refused when it is in none, Unavailable when what is
    read of it is damaged or absent (a partial clone)."""
    try:
        repo = git.Repo(folder, search_parent_directories=True)
    except (git.exc.InvalidGitRepositoryError, git.exc.NoSuchPathError) as error:
        raise Refused(
            f"{folder} is not in a Git repository.",
            "Go to a clone, or name a repository of the cluster with --repo.",
        ) from error
    objects = Objects(Path(repo.git_dir))
    try:
        yield Clone(repo, objects)
    except (*DAMAGED, Damaged) as error:
        raise Unavailable(
            f"The clone cannot be read: {error}.", "Fetch the whole history and try again."
        ) from error
    finally:
        objects.close()
        repo.close()
