"""The stacks that one commit of a repository declares, re-reading only what has changed.

Called by `manager.processing` and `manager.source`, in the thread that reads the mirror. A file is
read and parsed again only when its blob, or the blob of a file that it names (`.env`, env_file,
configs, secrets), has another id than last time.
"""

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stackd.core import spec
from stackd.core.model.release import Stack
from stackd.core.model.source import Repository
from stackd.errors import InvalidSpec, Problem, Refused
from stackd.git.trees import Objects

MAX_STACK_FILE = 512 * 1024
ABSENT = ""


@dataclass(frozen=True, slots=True)
class StackFile:
    """One stack file at one commit. `inputs`: each file it was made from -> blob id, ABSENT when
    it is not there. Without a `bundle` the problems say why."""

    path: str
    name: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    bundle: spec.Bundle | None = field(default=None, repr=False)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Declared:
    """What a repository declares at one commit: every stack file by its path."""

    repository: Repository
    commit: str
    files: Mapping[str, StackFile]


class Reader:
    """Reads a repository's stacks, remembering the last reading."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._cache: dict[str, StackFile] = {}

    def read(self, objects: Objects, commit: str) -> Mapping[str, StackFile]:
        """Every stack file of the commit by its path. Raises Refused when the folder to search is
        not there or beyond the limits, never for one bad file."""
        found: dict[str, StackFile] = {}
        listing = objects.files(commit, self._repository.path, spec.is_stack_file)
        for path in sorted(listing.files):
            known = self._cache.get(path)
            if known is None or not self._is_current(objects, commit, known):
                known = self._parse(objects, commit, path, listing.files[path])
            found[path] = known
        for path, why in listing.refused.items():
            found[path] = self._bad(path, f"the file is not read: {why}")
        self._cache = dict(found)
        return refuse_doubles(found)

    def look(self, objects: Objects, commit: str) -> Mapping[str, object]:
        """`declarations` of another commit, which does not become the last reading."""
        other = Reader(self._repository)
        other._cache = dict(self._cache)
        try:
            return declarations(other.read(objects, commit))
        except Refused:  # the folder was not there yet
            return {}

    def _is_current(self, objects: Objects, commit: str, known: StackFile) -> bool:
        return bool(known.inputs) and all(
            _blob_of(objects, commit, path)[0] == blob for path, blob in known.inputs.items()
        )

    def _parse(self, objects: Objects, commit: str, path: str, blob: str) -> StackFile:
        inputs = {path: blob}
        try:
            source = spec.SourceFile(path, objects.read(blob, MAX_STACK_FILE))
            files = self._beside(objects, commit, source, inputs)
        except InvalidSpec as error:
            return StackFile(path, self._name(path), inputs, problems=error.problems)
        except Refused as error:
            problem = Problem(path, 0, 0, error.cause)
            return StackFile(path, self._name(path), inputs, problems=(problem,))
        loaded = spec.load([source], self._context(files))
        name = loaded.bundle.spec.name if loaded.bundle else self._name(path)
        return StackFile(path, name, inputs, loaded.bundle, loaded.problems)

    def _beside(
        self, objects: Objects, commit: str, source: spec.SourceFile, inputs: dict[str, str]
    ) -> Mapping[str, bytes]:
        """Contents of the files that the stack file names, `.env` first, since names may hold its
        variables; notes their blobs in `inputs`. Raises InvalidSpec for links."""
        folder = posixpath.dirname(source.name)
        contents: dict[str, bytes] = {}
        problems: list[Problem] = []

        def take(name: str) -> None:
            path = posixpath.normpath(posixpath.join(folder, name))
            inputs[path], refusal = _blob_of(objects, commit, path)
            if refusal:
                problems.append(Problem(source.name, 0, 0, refusal))
            elif inputs[path] != ABSENT:
                contents[name] = objects.read(inputs[path])

        take(spec.DOTENV)
        for name in spec.wanted_files([source], self._context(contents)):
            if name != spec.DOTENV:
                take(name)
        if problems:
            raise InvalidSpec(problems)
        return contents

    def _context(self, files: Mapping[str, bytes]) -> spec.Context:
        return spec.Context(
            origin=spec.Origin.GIT,
            variables=self._repository.variables,
            files=files,
            root_name=self._repository.name,
        )

    def _name(self, path: str) -> str:
        """The name of a stack that could not be read: as last time, else from the file's name."""
        known = self._cache.get(path)
        return known.name if known else spec.stack_name(path, root_name=self._repository.name)

    def _bad(self, path: str, text: str) -> StackFile:
        return StackFile(path, self._name(path), problems=(Problem(path, 0, 0, text),))


def _blob_of(objects: Objects, commit: str, path: str) -> tuple[str, str]:
    """(blob id or ABSENT, why it must not be read)."""
    try:
        return objects.find(commit, path) or ABSENT, ""
    except Refused as error:
        return ABSENT, error.cause


def refuse_doubles(files: Mapping[str, StackFile]) -> Mapping[str, StackFile]:
    """Two files that declare one name are both refused, and both are told of the other."""
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for path, file in files.items():
        if file.bundle is not None:
            by_name[file.name].append(path)
    checked = dict(files)
    for name, paths in by_name.items():
        if len(paths) < 2:
            continue
        places = " and ".join(sorted(paths))
        for path in paths:
            problem = Problem(path, 0, 0, f"the stack {name} is declared twice: in {places}")
            checked[path] = StackFile(path, name, files[path].inputs, problems=(problem,))
    return checked


def vanished(files: Mapping[str, StackFile], owned: Iterable[Stack]) -> list[Stack]:
    """The stacks of a repository that no file declares any more and whose own file is gone, or
    declares another name; a file that cannot be read has not vanished."""
    declared = {file.name for file in files.values()}
    unread = {path for path, file in files.items() if file.bundle is None}
    return [
        head
        for head in owned
        if not head.removing and head.name not in declared and head.path not in unread
    ]


def declarations(files: Mapping[str, StackFile]) -> Mapping[str, object]:
    """Stack name -> what is declared for it, to be compared only."""
    return {
        file.name: (file.bundle.spec, file.bundle.contents) if file.bundle else file.problems
        for file in files.values()
    }
