"""Image names as Docker reads them: `web` means `docker.io/library/web:latest`.

Pure. Everything that compares, stores or asks for an image name goes through `parse`, so that two
spellings of one name are one name.
"""

import re
from dataclasses import dataclass, replace

from stackd.errors import Refused

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME = 255

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A whole image name. With a digest the tag is only for display."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def tagged(self) -> str:
        """The name that local images are kept under."""
        return f"{self.name}:{self.tag or DEFAULT_TAG}"

    @property
    def pinned(self) -> str:
        """`registry/repository@digest`; empty when it has no digest."""
        return f"{self.name}@{self.digest}" if self.digest else ""

    @property
    def short(self) -> str:
        """As people write it: without docker.io and library."""
        name = self.name.removeprefix(f"{DEFAULT_REGISTRY}/").removeprefix("library/")
        tag = f":{self.tag}" if self.tag else ""
        return f"{name}{tag}" + (f"@{self.digest}" if self.digest else "")

    def at(self, digest: str) -> "Reference":
        """The same name pinned to `digest`."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        return self.pinned or self.tagged


def parse(text: str) -> Reference:
    """Read an image name. Raises Refused with what is wrong with it."""
    if not text or len(text) > MAX_NAME + 200:
        raise _bad(text, "it is empty" if not text else "it is too long")
    rest, at, digest = text.partition("@")
    if at:
        check_digest(digest)
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _bad(text, f"the tag {tag[:40]!r} is not valid")
    registry, repository = _split(head + slash + last)
    if not _HOST.fullmatch(registry):
        raise _bad(text, f"{registry[:60]!r} is not a registry's host name")
    if not _REPOSITORY.fullmatch(repository):
        raise _bad(text, "a repository has lower-case letters, digits, and . _ - between them")
    if _HEX.fullmatch(rest):
        raise _bad(text, "64 hexadecimal digits alone are an id, not a name")
    if len(registry) + 1 + len(repository) > MAX_NAME:
        raise _bad(text, "it is too long")
    return Reference(registry, repository, tag if colon else ("" if at else DEFAULT_TAG), digest)


def _split(name: str) -> tuple[str, str]:
    """Registry and repository; the first part is a host only if it looks like one."""
    first, slash, rest = name.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, repository = (first, rest) if is_host else (DEFAULT_REGISTRY, name)
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def normalise(text: str) -> str:
    """The one spelling of an image name that all others compare equal to. Raises Refused."""
    return str(parse(text))


def check_digest(digest: str) -> str:
    """The 64 hex digits of a `sha256:…` digest. Raises Refused for anything else."""
    if not _DIGEST.fullmatch(digest):
        raise Refused(
            f"{digest[:80]!r} is not a sha256 digest.",
            "A digest is `sha256:` and 64 lower-case hexadecimal digits.",
        )
    return digest.removeprefix("sha256:")


def check_host(host: str) -> str:
    """A registry's host name, normalised. Raises Refused."""
    if not _HOST.fullmatch(host):
        raise Refused(
            f"{host[:60]!r} is not a registry's host name.", "Write HOST or HOST:PORT, no scheme."
        )
    return DEFAULT_REGISTRY if host == "index.docker.io" else host


def _bad(text: str, why: str) -> Refused:
    return Refused(
        f"{text[:100]!r} is not an image name: {why}.",
        "Write [REGISTRY/]REPOSITORY[:TAG][@sha256:…].",
    )
