"""The stacks that one commit of a repository declares, re-reading only what has changed.

Called by `manager.follow`, in the thread that reads the mirror. A file is read and parsed again
only when its blob, or the blob of a file that it names (`.env`, env_file, configs, secrets),
has another id than last time.
"""

import posixpath
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from stackd.core.model.source import Repository
from stackd.core.model.stack import StackSpec
from stackd.core.spec import loading, naming
from stackd.core.spec.context import Context, Origin, SourceFile
from stackd.errors import InvalidSpec, Problem, Refused
from stackd.git.trees import Objects

MAX_STACK_FILE = 512 * 1024
ABSENT = ""


@dataclass(frozen=True, slots=True)
class StackFile:
    """One stack file at one commit. `inputs`: each file it was made from -> blob id, ABSENT when
    it is not there. Without a `spec` the problems say why."""

    path: str
    name: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    spec: StackSpec | None = None
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    problems: tuple[Problem, ...] = ()


class Reader:
    """Reads a repository's stacks, remembering the last reading."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._cache: dict[str, StackFile] = {}

    def read(self, objects: Objects, commit: str) -> Mapping[str, StackFile]:
        """Every stack file of the commit by its path. Raises Refused when the folder to search is
        not there or beyond the limits, never for one bad file."""
        found: dict[str, StackFile] = {}
        listing = objects.files(commit, self._repository.path, naming.is_stack_file)
        for path in sorted(listing.files):
            known = self._cache.get(path)
            if known is None or not self._is_current(objects, commit, known):
                known = self._parse(objects, commit, path, listing.files[path])
            found[path] = known
        for path, why in listing.refused.items():
            found[path] = self._bad(path, f"the file is not read: {why}")
        self._cache = dict(found)
        return refuse_doubles(found)

    def _is_current(self, objects: Objects, commit: str, known: StackFile) -> bool:
        return bool(known.inputs) and all(
            _blob_of(objects, commit, path)[0] == blob for path, blob in known.inputs.items()
        )

    def _parse(self, objects: Objects, commit: str, path: str, blob: str) -> StackFile:
        inputs = {path: blob}
        try:
            source = SourceFile(path, objects.read(blob, MAX_STACK_FILE))
            files = self._beside(objects, commit, source, inputs)
            loaded = loading.load([source], self._context(files))
        except InvalidSpec as error:
            return StackFile(path, self._name(path), inputs, problems=error.problems)
        except Refused as error:
            problem = Problem(path, 0, 0, error.cause)
            return StackFile(path, self._name(path), inputs, problems=(problem,))
        warnings = tuple(loaded.warnings)
        return StackFile(path, loaded.spec.name, inputs, loaded.spec, loaded.contents, warnings)

    def _beside(
        self, objects: Objects, commit: str, source: SourceFile, inputs: dict[str, str]
    ) -> Mapping[str, bytes]:
        """Contents of the files that the stack file names; notes their blobs in `inputs`."""
        folder = posixpath.dirname(source.name)
        contents: dict[str, bytes] = {}
        problems = []
        for name in sorted(loading.wanted_files([source], self._context({}))):
            path = posixpath.normpath(posixpath.join(folder, name))
            blob, refusal = _blob_of(objects, commit, path)
            inputs[path] = blob
            if refusal:
                problems.append(Problem(source.name, 0, 0, refusal))
            elif blob != ABSENT:
                contents[name] = objects.read(blob)
        if problems:
            raise InvalidSpec(problems)
        return contents

    def _context(self, files: Mapping[str, bytes]) -> Context:
        return Context(
            origin=Origin.GIT,
            variables=self._repository.variables,
            files=files,
            root_name=self._repository.name,
        )

    def _name(self, path: str) -> str:
        """The name of a stack that could not be read: as last time, else from the file's name."""
        known = self._cache.get(path)
        return known.name if known else naming.stack_name(path, root_name=self._repository.name)

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
        if file.spec is not None:
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
