"""Stack files -> one `StackSpec` with its contents, or all problems at once.

The only entry for callers: the Git source, the command line and `validate`. Nothing is read here:
`wanted_files` names what the caller has to read beside the stack files, `load` takes the bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stackd.core.model.ids import STACK_NAME
from stackd.core.model.release import ContentKind
from stackd.core.model.stack import ContentSpec, NetworkSpec, StackSpec
from stackd.core.spec import contents, dotenv, naming, networks, paths, volumes
from stackd.core.spec.assembly import Assembler
from stackd.core.spec.context import DOTENV, Context, SourceFile
from stackd.core.spec.environment import Environments
from stackd.core.spec.interpolation import Interpolator
from stackd.core.spec.merging import merge
from stackd.core.spec.nodes import MapNode, Node, Place, place_of
from stackd.core.spec.problems import Report, Stop, dotted
from stackd.core.spec.reader import Budget, read
from stackd.core.spec.references import Checker
from stackd.core.spec.stack import StackSection
from stackd.core.spec.validation import validate
from stackd.core.spec.volumes import Volumes
from stackd.errors import Problem


@dataclass(frozen=True)
class Bundle:
    """A stack that can be deployed.

    contents: `config/NAME` or `secret/NAME` (names of the file) -> bytes; external ones are not
    in it. The values of secrets are nowhere else.
    """

    spec: StackSpec
    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """The outcome of a load: a bundle, or None; and every problem and warning of every file."""

    bundle: Bundle | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that are no warnings."""
        return tuple(problem for problem in self.problems if not problem.warning)


def _tree(
    files: Sequence[SourceFile], context: Context, lookup: Mapping[str, str], report: Report
) -> Node | None:
    """The files read, interpolated and merged; None when one of them cannot be read."""
    budget = Budget(report)
    interpolator = Interpolator(lookup, context.origin, budget, report)
    trees: list[Node] = []
    for file in files:
        try:
            trees.append(interpolator.tree(read(file.name, file.text, budget, report)))
        except Stop:
            continue
    if not trees or len(trees) < len(files):
        return None
    root = trees[0]
    for tree in trees[1:]:
        root = merge(root, tree)
    return root


def _lookup(context: Context, report: Report) -> dict[str, str]:
    """The variables for interpolation: the caller's win over `.env`."""
    data = context.files.get(DOTENV)
    found = dotenv.parse(DOTENV, data, report) if data is not None else {}
    values = {name: value for name, value in found.items() if value is not None}
    return {**values, **context.variables}


def _name(
    files: Sequence[SourceFile], context: Context, section: StackSection, report: Report
) -> str:
    path = files[0].name
    name = naming.stack_name(
        path, declared=section.name or "", option=context.name, root_name=context.root_name
    )
    if not STACK_NAME.fullmatch(name):
        text = f"{name!r} is not a name of a stack" if name else "the stack has no name"
        report.error(Place(path, 0, 0), f"{text}: write `name:` in the file or give --name")
    return name


@dataclass(frozen=True)
class _Work:
    """What the later stages of one load share."""

    root: Node
    context: Context
    lookup: Mapping[str, str]
    report: Report

    def contents(self, stack: str, kind: ContentKind, section: StackSection) -> "_Contents":
        """The declared configs or secrets and their bytes."""
        key = f"{kind}s"
        declared: Mapping[str, contents.ContentSection] = getattr(section, key) or {}
        # A secret or config of the environment may also come from `.env`.
        context = replace(self.context, variables=self.lookup)
        found = _Contents({}, {})
        for name, given in declared.items():
            found.specs[name] = contents.build(stack, name, given)
            try:
                data = contents.content(kind, given, context)
            except ValueError as error:
                path = (key, name)
                self.report.error(place_of(self.root, path), str(error), dotted(path))
                continue
            if data is not None:
                found.data[f"{kind}/{name}"] = data
        return found

    def assemble(self, stack: str, section: StackSection) -> Bundle:
        """The whole stack; its faults are in the report."""
        declared = {
            key: volumes.build(stack, key, given) for key, given in (section.volumes or {}).items()
        }
        environments = Environments(self.context, self.lookup, self.report)
        assembler = Assembler(self.root, Volumes(declared, self.context), environments)
        services = {name: assembler.service(name, s) for name, s in section.services.items()}
        configs = self.contents(stack, ContentKind.CONFIG, section)
        secrets = self.contents(stack, ContentKind.SECRET, section)
        used = {a.network for service in services.values() for a in service.container.networks}
        spec = StackSpec(
            name=stack,
            services=services,
            networks=_networks(stack, section, used),
            volumes=declared,
            configs=configs.specs,
            secrets=secrets.specs,
        )
        Checker(self.root, spec, self.report).run()
        return Bundle(spec, {**configs.data, **secrets.data}, self.report.warnings)


@dataclass(frozen=True)
class _Contents:
    specs: dict[str, ContentSpec]
    data: dict[str, bytes]


def _networks(stack: str, section: StackSection, used: set[str]) -> dict[str, NetworkSpec]:
    """The declared networks, and the default one when a service is in it."""
    declared = dict(section.networks or {})
    if networks.DEFAULT in used:
        declared.setdefault(networks.DEFAULT, None)
    return {key: networks.build(stack, key, given) for key, given in declared.items()}


def load(files: Sequence[SourceFile], context: Context) -> Loaded:
    """One stack from its files, or every problem of all of them. Never raises on any content.

    Several files are merged, later over earlier; paths are relative to the first file's folder.
    """
    report = Report()
    lookup = _lookup(context, report)
    try:
        root = _tree(files, context, lookup, report)
        section = validate(root, context.lenient, report) if root is not None else None
        if root is None or section is None:
            return Loaded(None, report.all)
        name = _name(files, context, section, report)
        bundle = _Work(root, context, lookup, report).assemble(name, section)
    except Stop:
        return Loaded(None, report.all)
    return Loaded(None if report.errors else bundle, report.all)


def _texts(node: Node | None) -> list[str]:
    """The texts that name files: one, a list, or mappings with `path`."""
    if isinstance(node, MapNode):
        return _texts(node.get("path"))
    if node is None:
        return []
    if hasattr(node, "items"):
        return [text for item in node.items for text in _texts(item)]
    return [node.text]


def _entries(root: Node | None, key: str) -> list[Node]:
    section = root.get(key) if isinstance(root, MapNode) else None
    return (
        [entry.value for entry in section.entries.values()] if isinstance(section, MapNode) else []
    )


def wanted_files(files: Sequence[SourceFile], context: Context) -> tuple[str, ...]:
    """Names of the further files that a stack's files refer to, sorted.

    Relative to the first file's folder, with `/`; absolute only on the command line. `.env` is
    always wanted, and read first: `context.files` should hold it, because names may contain
    variables. A caller leaves out of `Context.files` what does not exist or is no regular file.
    """
    report = Report()
    try:
        root = _tree(files, context, _lookup(context, report), report)
    except Stop:
        root = None
    named = [
        text
        for service in _entries(root, "services")
        if isinstance(service, MapNode)
        for text in _texts(service.get("env_file"))
    ]
    for key in ("configs", "secrets"):
        for node in _entries(root, key):
            if isinstance(node, MapNode):
                named += _texts(node.get("file"))
    found = {DOTENV}
    for text in named:
        try:
            found.add(paths.resolve(text, context.origin))
        except ValueError:
            continue  # `load` reports it at its place.
    return tuple(sorted(found))
