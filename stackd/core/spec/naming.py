"""Which files are stack files, and what their stacks are called.

Called by the Git source, to choose files of a commit, and by `loading`.
"""

import re

_FILE = re.compile(r"(?:.+\.stack|stack|compose|docker-stack)\.ya?ml")
_ENDING = re.compile(r"(?:\.stack)?\.ya?ml$")
_FOLDER_NAMED = frozenset({"stack", "compose", "docker-stack"})
_SKIPPED = frozenset({"node_modules", "vendor"})
MAX_NAME = 41


def is_skipped_folder(name: str) -> bool:
    """A folder that is not descended: hidden ones, node_modules and vendor."""
    return name.startswith(".") or name in _SKIPPED


def is_stack_file(path: str) -> bool:
    """Whether a path relative to the searched folder is a stack file that counts."""
    *folders, name = path.split("/")
    if any(is_skipped_folder(folder) for folder in folders):
        return False
    return not name.startswith(".") and _FILE.fullmatch(name) is not None


def _tidy(name: str) -> str:
    """A derived name in lower case, with `-` for every other character."""
    return re.sub(r"[^a-z0-9-]", "-", name.lower()).lstrip("-")[:MAX_NAME]


def stack_name(path: str, *, declared: str = "", option: str = "", root_name: str = "") -> str:
    """The name of the stack in the file at `path`; empty when nothing gives one (`-f -`).

    option (`--name`) wins over declared (`name:`), which wins over the file's name. Files named
    stack, compose or docker-stack take their folder's name; without a folder, `root_name`.
    """
    if option or declared:
        return option or declared
    *folders, name = path.split("/")
    if name == "-":
        return ""
    stem = _ENDING.sub("", name)
    if stem not in _FOLDER_NAMED:
        return _tidy(stem)
    named = [folder for folder in folders if folder not in ("", ".", "..")]
    return _tidy(named[-1] if named and folders[-1] != ".." else root_name)
