"""One repository's bare mirror: fetching into it, pushing from it, and reading it.

Called by `manager.source`. A mirror that is damaged, or of another address, is deleted and
fetched again; nothing in it is state that cannot be had again.
"""

import asyncio
import re
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from stackd.aio import proc
from stackd.errors import Refused, StackdError, Unavailable, Unknown
from stackd.git.answers import translate
from stackd.git.environment import LOCAL_TIMEOUT, NETWORK_TIMEOUT, Git
from stackd.git.remote import Remote, followed, ls_remote
from stackd.git.trees import DAMAGED, Damaged, Objects
from stackd.git.urls import COMMIT, Scheme, check_commit, check_ref

R = TypeVar("R")
_TIP = "refs/stackd/tip"
_LOOK = "refs/stackd/look"
"""What was fetched only to be looked at."""
_RECEIVE = (
    "git -c core.hooksPath=/dev/null -c core.alternateRefsCommand=true -c receive.autogc=false"
    " receive-pack"
)
"""Nothing that a local repository's own configuration names is run."""
_LEFTOVERS = ("*.lock", "refs/stackd/*.lock", "objects/pack/tmp_*", "objects/??/tmp_obj_*")


class GitRepo:
    """The mirror of one repository in `folder`."""

    def __init__(self, folder: Path, git: Git) -> None:
        self._folder = folder
        self._mirror = folder / "mirror.git"
        self._git = git
        self._objects: Objects | None = None
        self._lock = asyncio.Lock()

    async def ls_remote(self, ref: str) -> Remote:
        """Ask the remote. Raises Refused (no such branch or tag, no access) or Unavailable."""
        return await ls_remote(self._git, ref)

    async def fetch(self, remote: Remote) -> str:
        """Bring what `remote.ref` means now into the mirror; returns that commit.

        Raises Refused or Unavailable; the mirror is as before then.
        """
        return await self._fetch(remote, _TIP)

    async def look_up(self, revision: str) -> str:
        """The commit that a branch, tag or commit id means; a branch or tag as it is at the
        remote now. Raises Refused or Unavailable."""
        if COMMIT.fullmatch(revision) and await self.has(revision):
            return revision
        try:
            return await self._fetch(await self.ls_remote(revision), _LOOK)
        except Refused:
            if re.fullmatch(r"[0-9a-f]{4,40}", revision):
                return await self.resolve(revision)
            raise

    async def _fetch(self, remote: Remote, into: str) -> str:
        async with self._lock:
            await self._open()
            refspec = f"+{remote.ref}:{into}"
            arguments = [
                f"--git-dir={self._mirror}", "fetch", "--quiet", "--no-tags", "--force",
                "--no-recurse-submodules", "--no-write-fetch-head", "--no-auto-maintenance",
                "--", self._git.address.url, refspec,
            ]  # fmt: skip
            done = await self._git.run(
                arguments, writes=(self._folder,), timeout=NETWORK_TIMEOUT, network=True
            )
            if done.code:
                self._sweep()
                raise translate(done, self._git.address.host)
            await self._local("-c", "gc.auto=2000", "-c", "gc.autoDetach=false", "gc", "--auto",
                              "--quiet")  # fmt: skip
            tip = await self._local("rev-parse", "--verify", "--quiet", f"{into}^{{commit}}")
            commit = tip.stdout.decode().strip()
            if tip.code or not COMMIT.fullmatch(commit):
                raise Refused(f"{remote.ref} is not a commit.", "Change --ref.")
            return commit

    async def followed(self, ref: str) -> str:
        """The whole name of what `ref` means at the remote: the branch of its HEAD for ''. Raises
        Refused or Unavailable."""
        return await followed(self._git, ref)

    async def push(self, commit: str, branch: str) -> bool:
        """Push a commit to a branch of the remote, never over something else: False when the
        branch holds what the commit does not build on. Raises Refused or Unavailable."""
        local = self._git.address.scheme is Scheme.FILE
        there = (Path(self._git.address.url),) if local else ()
        arguments = [
            f"--git-dir={self._mirror}", "push", "--porcelain", "--no-verify",
            *([f"--receive-pack={_RECEIVE}"] if local else []),
            "--", self._git.address.url, f"{check_commit(commit)}:refs/heads/{check_ref(branch)}",
        ]  # fmt: skip
        done = await self._git.run(
            arguments, writes=(self._folder, *there), timeout=NETWORK_TIMEOUT, network=True
        )
        if done.code and re.search(rb"\[rejected\]", done.stdout):
            return False
        if done.code and (found := re.search(rb"\[remote rejected\] \((.*)\)", done.stdout)):
            why = found.group(1).decode("utf-8", "replace")[:200]
            raise Refused(f"The remote does not take the branch {branch}: {why}.", "Ask its owner.")
        if done.code:
            raise translate(done, self._git.address.host)
        return True

    async def merged(self, one: str, other: str) -> str:
        """The tree of a merge of two commits; '' when they change the same lines. Raises
        Unavailable."""
        done = await self._local("merge-tree", "--write-tree", "--no-messages", one, other)
        if done.code > 1:
            raise Unavailable(f"git merge-tree failed: {done.error}")
        return "" if done.code else done.stdout.decode().strip()

    async def plumb(self, *arguments: str, given: bytes | None = None) -> str:
        """What a command in the mirror prints, without spaces around it. Raises Unavailable when
        it fails."""
        done = await self._git.run(
            [f"--git-dir={self._mirror}", *arguments], writes=(self._folder,), given=given
        )
        if done.code:
            raise Unavailable(f"git {arguments[0]} failed: {done.error}")
        return done.stdout.decode("utf-8", "replace").strip()

    async def has(self, commit: str) -> bool:
        """Whether the mirror holds that commit."""
        if not self._mirror.exists():
            return False
        done = await self._local("cat-file", "-e", f"{check_commit(commit)}^{{commit}}")
        return done.code == 0

    async def resolve(self, commit: str) -> str:
        """The whole id of a commit that the mirror holds, from its first digits. Raises Refused."""
        done = None
        if self._mirror.exists() and re.fullmatch(r"[0-9a-f]{4,40}", commit):
            done = await self._local("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
        found = done.stdout.decode().strip() if done is not None and not done.code else ""
        if not COMMIT.fullmatch(found):
            raise Unknown(
                f"The repository has no commit {commit[:40]!r} that was fetched.",
                "Give an id that `git log` shows on the branch that is followed.",
            )
        return found

    async def is_descendant(self, commit: str, of: str) -> bool:
        """Whether `of` is `commit` or an ancestor of it; False when one is unknown here."""
        if commit == of:
            return True
        done = await self._local(
            "merge-base", "--is-ancestor", check_commit(of), check_commit(commit)
        )
        return done.code == 0

    async def common(self, base: str, head: str) -> str:
        """The newest commit that both build on; '' when there is none here."""
        done = await self._local("merge-base", check_commit(base), check_commit(head))
        found = done.stdout.decode().strip()
        return found if COMMIT.fullmatch(found) else ""

    async def history(self, commit: str, count: int) -> tuple[str, ...]:
        """At most `count` ancestors of a commit, newest first, without itself."""
        done = await self._local("rev-list", f"--max-count={count + 1}", check_commit(commit))
        return tuple(done.stdout.decode().split()[1:])

    async def read(self, reader: Callable[[Objects], R]) -> R:
        """Run `reader` over the mirror's objects in a thread.

        Raises what `reader` refuses; Unavailable when the mirror was damaged (it is gone then, and
        the next fetch makes it anew).
        """
        async with self._lock:
            await self._open()
            assert self._objects is not None
            try:
                return await asyncio.to_thread(reader, self._objects)
            except StackdError:
                raise
            except (*DAMAGED, Damaged) as error:
                self._reset()
                raise Unavailable(
                    "The mirror of the repository was damaged; it will be fetched again."
                ) from error

    async def close(self, *, delete: bool = False) -> None:
        """End readers; with `delete` also remove the mirror."""
        async with self._lock:
            self._release()
            if delete:
                shutil.rmtree(self._folder, ignore_errors=True)

    async def _open(self) -> None:
        """A sound mirror of this address, made if need be."""
        if self._objects is not None and self._mirror.exists():
            return
        self._release()
        if not await self._is_sound():
            self._reset()
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            done = await self._git.run(
                ["init", "--quiet", "--bare", "--template=", "--", str(self._mirror)],
                writes=(self._folder,),
            )
            if done.code:
                raise Unavailable(f"A mirror cannot be made: {done.error}")
            (self._mirror / "stackd-url").write_text(self._git.address.url)
        self._sweep()
        self._objects = Objects(self._mirror)

    async def _is_sound(self) -> bool:
        try:
            url = (self._mirror / "stackd-url").read_text()
        except OSError:
            return False
        if url != self._git.address.url:
            return False
        done = await self._local("fsck", "--connectivity-only", "--no-dangling", "--no-progress",
                                 timeout=NETWORK_TIMEOUT)  # fmt: skip
        return done.code == 0

    def _sweep(self) -> None:
        """Remove what a killed git left; nobody else uses the mirror."""
        for pattern in _LEFTOVERS:
            for left in self._mirror.glob(pattern):
                left.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._objects is not None:
            self._objects.close()
            self._objects = None

    def _reset(self) -> None:
        self._release()
        shutil.rmtree(self._mirror, ignore_errors=True)

    async def _local(self, *arguments: str, timeout: float = LOCAL_TIMEOUT) -> proc.Completed:
        return await self._git.run(
            [f"--git-dir={self._mirror}", *arguments], writes=(self._folder,), timeout=timeout
        )


def forget_mirrors(folder: Path, keep: Collection[str]) -> None:
    """Remove the mirrors in `folder` of repositories that are not in `keep`."""
    if folder.is_dir():
        for mirror in folder.iterdir():
            if mirror.name not in keep:
                shutil.rmtree(mirror, ignore_errors=True)
