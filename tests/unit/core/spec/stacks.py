"""Short ways to load a stack in tests."""

from stackd.core.model.stack import ServiceSpec, StackSpec
from stackd.core.spec import Context, Loaded, Origin, SourceFile, load

GIT = Context(Origin.GIT)
CLI = Context(Origin.CLI, folder="/home/me/shop")


def loaded(text: str, context: Context = GIT, name: str = "shop.stack.yml") -> Loaded:
    return load([SourceFile(name, text.encode())], context)


def spec(text: str, context: Context = GIT) -> StackSpec:
    found = loaded(text, context)
    assert not found.errors, [str(problem) for problem in found.errors]
    assert found.bundle is not None
    return found.bundle.spec


def document(keys: str) -> str:
    """A stack with one service `web` that has the given lines as keys."""
    lines = "".join(f"    {line}\n" for line in keys.splitlines())
    return f"services:\n  web:\n    image: demo:1\n{lines}"


def service(keys: str, context: Context = GIT, rest: str = "") -> ServiceSpec:
    return spec(document(keys) + rest, context).services["web"]


def errors(text: str, context: Context = GIT) -> list[str]:
    """Errors as `line:column text`."""
    return [f"{p.line}:{p.column} {p.text}" for p in loaded(text, context).errors]


def warnings(text: str, context: Context = GIT) -> list[str]:
    return [f"{p.line}:{p.column} {p.text}" for p in loaded(text, context).problems if p.warning]


def faults(keys: str, context: Context = GIT, rest: str = "") -> str:
    """The errors of a service with the given keys, as one text."""
    return "\n".join(errors(document(keys) + rest, context))
