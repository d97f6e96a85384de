"""Commits, folders and files read straight from a mirror's objects; there is never a work tree.

All calls block briefly; `repo.GitRepo.read` runs them in a thread, one at a time. Every tree and
blob is checked against its id. Symbolic links and submodules are named, never followed.
"""

import hashlib
import stat
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import git
import git.exc
from git.objects.fun import tree_entries_from_data

from stackd.errors import Refused

MAX_ENTRIES = 100_000
MAX_DEPTH = 64
MAX_TREE = 16 * 1024 * 1024
MAX_BLOB = 10 * 1024 * 1024
KEPT_TREES = 4096
_SKIPPED = frozenset({"node_modules", "vendor"})
_LINK = stat.S_IFLNK
_SUBMODULE = 0o160000

DAMAGED = (
    git.exc.ODBError, git.GitCommandError, ValueError, OSError, EOFError, zlib.error,
    AssertionError,
)  # fmt: skip
"""What reading a damaged mirror can raise."""


class Damaged(Exception):
    """The mirror's objects cannot be trusted: it is to be deleted and fetched again."""


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """Who made a commit and why. `message` is its first line; `at` Unix seconds."""

    id: str
    author: str
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class Listing:
    """Files that were asked for: path from the root -> blob id; and why others are not read."""

    files: Mapping[str, str]
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    mode: int
    id: str

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def refusal(self) -> str:
        """Why it cannot be read; empty for a folder and a regular file."""
        if stat.S_IFMT(self.mode) == _LINK:
            return "it is a symbolic link, and links in a repository are not followed"
        if stat.S_IFMT(self.mode) == _SUBMODULE:
            return "it is a submodule, and submodules are not fetched"
        return ""


class Objects:
    """The objects of one mirror. `reads` counts the blobs that were read."""

    def __init__(self, mirror: Path) -> None:
        self._repo = git.Repo(mirror)
        self._repo.git.update_environment(
            GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", GIT_NO_REPLACE_OBJECTS="1"
        )
        self._trees: OrderedDict[str, Mapping[str, _Entry]] = OrderedDict()
        self._last_root = ("", "")
        self.reads = 0

    def close(self) -> None:
        """End the reader processes."""
        self._repo.close()

    def commit(self, commit: str) -> CommitInfo:
        """Who, why, when."""
        found = self._repo.commit(commit)
        message = found.message if isinstance(found.message, str) else ""
        first = _printable(message.strip().split("\n", 1)[0])
        author = _printable(f"{found.author.name} <{found.author.email}>")
        return CommitInfo(found.hexsha, author[:200], first[:200], float(found.committed_date))

    def files(self, commit: str, path: str, wanted: Callable[[str], bool]) -> Listing:
        """The files below `path` that `wanted` says yes to, asked with their path from there; the
        answer has their whole path. Hidden folders, node_modules and vendor are not entered.
        Raises Refused beyond the limits."""
        files: dict[str, str] = {}
        refused: dict[str, str] = {}
        prefix = f"{path.strip('/')}/".lstrip("/")
        for name, entry in self._walk(commit, path):
            if wanted(name.removeprefix(prefix)):
                if entry.refusal:
                    refused[name] = entry.refusal
                else:
                    files[name] = entry.id
        return Listing(files, refused)

    def _walk(self, commit: str, path: str) -> Iterator[tuple[str, _Entry]]:
        start = self._find(commit, path)
        if start is None or not start.is_folder:
            raise Refused(f"The commit has no folder {path!r}.", "Check --path.")
        todo = [(path.strip("/"), start.id, 0)]
        seen = 0
        while todo:
            prefix, tree, depth = todo.pop()
            for entry in self._entries(tree).values():
                seen += 1
                if seen > MAX_ENTRIES or depth > MAX_DEPTH:
                    raise Refused(
                        f"The folder has more than {MAX_ENTRIES} entries or is too deep.",
                        "Narrow it with --path.",
                    )
                name = f"{prefix}/{entry.name}" if prefix else entry.name
                if not entry.is_folder:
                    yield name, entry
                elif not entry.name.startswith(".") and entry.name not in _SKIPPED:
                    todo.append((name, entry.id, depth + 1))

    def find(self, commit: str, path: str) -> str | None:
        """The blob id of a file; None if there is none. Raises Refused when it, or a folder on
        the way, is a link or a submodule, or when the path leaves the repository."""
        entry = self._find(commit, path)
        return entry.id if entry is not None and not entry.is_folder else None

    def _find(self, commit: str, path: str) -> _Entry | None:
        parts = PurePosixPath(path).parts
        if path.startswith("/") or ".." in parts or "\0" in path:
            raise Refused(f"{path!r} is not a path within the repository.")
        entry = _Entry("", stat.S_IFDIR, self._root(commit))
        for position, part in enumerate(parts):
            if not entry.is_folder:
                return None
            found = self._entries(entry.id).get(part)
            if found is None:
                return None
            if found.refusal:
                raise Refused(f"{'/'.join(parts[: position + 1])} is not read: {found.refusal}.")
            entry = found
        return entry

    def _root(self, commit: str) -> str:
        if self._last_root[0] != commit:
            self._last_root = (commit, self._repo.commit(commit).tree.hexsha)
        return self._last_root[1]

    def read(self, blob: str, limit: int = MAX_BLOB) -> bytes:
        """The content of a file. Raises Refused above `limit` bytes."""
        self.reads += 1
        return self._object(blob, b"blob", limit)

    def _entries(self, tree: str) -> Mapping[str, _Entry]:
        """A folder's entries; they are kept, since most folders are the same in most commits."""
        if (known := self._trees.get(tree)) is not None:
            self._trees.move_to_end(tree)
            return known
        data = self._object(tree, b"tree", MAX_TREE)
        entries = {
            name: _Entry(name, mode, sha.hex()) for sha, mode, name in tree_entries_from_data(data)
        }
        for name in entries:
            if name in ("", ".", "..", ".git") or "/" in name:
                raise Refused(f"A folder of the repository holds an entry {name!r}.")
        self._trees[tree] = entries
        if len(self._trees) > KEPT_TREES:
            self._trees.popitem(last=False)
        return entries

    def _object(self, name: str, kind: bytes, limit: int) -> bytes:
        info = self._repo.odb.info(bytes.fromhex(name))
        if info.type != kind:
            raise Damaged(f"{name} is not a {kind.decode()}")
        if info.size > limit:
            raise Refused(
                f"An object has {info.size} bytes, more than {limit}.", "Make it smaller."
            )
        data: bytes = self._repo.odb.stream(bytes.fromhex(name)).read()
        header = b"%s %d\0" % (kind, len(data))
        if hashlib.sha1(header + data, usedforsecurity=False).hexdigest() != name:
            raise Damaged(f"{name} has another content")
        return data


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
