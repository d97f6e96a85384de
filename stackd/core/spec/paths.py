"""Names of files beside a stack file: where they may point.

A path stays inside the stack file's folder. Only the command line may also name an absolute path;
what it reads, it reads with the caller's own rights.
"""

from stackd.core.spec.context import Origin


def normal(path: str) -> str:
    """`path` with `/` once between parts and without `.` parts; `..` is kept."""
    root = "/" if path.startswith("/") else ""
    return root + "/".join(part for part in path.split("/") if part not in ("", "."))


def resolve(path: str, origin: Origin) -> str:
    """The name under which the caller is asked for the file at `path`.

    Raises:
        ValueError: the path leaves the folder; the text says how.
    """
    if not path.strip() or "\x00" in path or "\\" in path:
        raise ValueError(f"{path!r} is not a path")
    if path.startswith("~"):
        raise ValueError(f"{path} starts with `~`, which is not expanded: write the path out")
    if path.startswith("/") and origin is Origin.GIT:
        raise ValueError(f"{path} is absolute: a file must be in the commit, beside the stack file")
    if ".." in path.split("/"):
        raise ValueError(f"{path} leaves the stack file's folder: keep the file below it")
    return normal(path)


def join(folder: str, path: str) -> str:
    """`path` under the absolute `folder`, with `..` taken away."""
    parts: list[str] = []
    for part in f"{folder}/{path}".split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
