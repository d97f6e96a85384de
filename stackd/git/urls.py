"""Which addresses and reference names git may be given. Pure; every other module trusts it.

git has many ways to run a command named in an address (`ext::`, `--upload-pack`,
`ssh://-oProxyCommand`): only three plain forms pass, everything else is refused before git runs.
"""

import enum
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from stackd.errors import Refused

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PATH = re.compile(r"[A-Za-z0-9._~/+@,=-]+")
_SCP = re.compile(r"(?:(?P<user>[^@/:]+)@)?(?P<host>[^@/:]+):(?P<path>[^:].*)")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@=,-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
"""A whole commit id."""
MAX_URL = 1000
MAX_REF = 200


class Scheme(enum.StrEnum):
    """The ways to reach a repository."""

    HTTPS = "https"
    SSH = "ssh"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Address:
    """An address that is safe to hand to git after `--`. `host` is empty for a local path."""

    url: str
    scheme: Scheme
    host: str = ""

    @property
    def path(self) -> str:
        """What follows the host, as forges name repositories: OWNER/NAME."""
        rest = self.url.split("://", 1)[-1]
        after = rest.partition("/" if "://" in self.url else ":")[2]
        return after.strip("/").removesuffix(".git")


def check_url(url: str, *, local: bool = False) -> Address:
    """An https or ssh URL or a scp-like address; an absolute path only when `local`.

    Raises Refused for everything else.
    """
    if not url or len(url) > MAX_URL or not url.isprintable() or not url.isascii() or " " in url:
        if not (local and url.isprintable() and 0 < len(url) <= MAX_URL):
            raise _bad("it is empty, too long, or has characters that addresses do not have")
    if url.startswith("-"):
        raise _bad("it begins with a dash")
    if local:
        if not url.startswith("/"):
            raise _bad("a local repository is given by its absolute path")
        return Address(url, Scheme.FILE)
    if "://" in url:
        return _with_scheme(url)
    match = _SCP.fullmatch(url)
    if match is None or "::" in url:
        raise _bad("it is neither an https:// nor an ssh:// URL nor [USER@]HOST:PATH")
    if match["user"] is not None:
        _check_user(match["user"])
    _check_host(match["host"])
    _check_path(match["path"])
    return Address(url, Scheme.SSH, match["host"].lower())


def _with_scheme(url: str) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad("it cannot be read") from error
    if parts.scheme not in (Scheme.HTTPS, Scheme.SSH) or not url.startswith(f"{parts.scheme}://"):
        raise _bad("only https and ssh are spoken")
    if parts.password is not None or (parts.scheme == Scheme.HTTPS and "@" in parts.netloc):
        raise _bad("it holds credentials", "Give them with --token-file or --ssh-key.")
    if parts.query or parts.fragment or port == 0:
        raise _bad("it has a query, a fragment or no usable port")
    if parts.username is not None:
        _check_user(parts.username)
    host = parts.hostname or ""
    _check_host(host)
    _check_path(parts.path.removeprefix("/"))
    return Address(url, Scheme(parts.scheme), host)


def _check_user(user: str) -> None:
    if not _USER.fullmatch(user):
        raise _bad("the user name is not one")


def _check_host(host: str) -> None:
    """A name, or an address that is not link-local (where clouds answer for credentials)."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        last = host.rsplit(".", 1)[-1]
        if not _HOST.fullmatch(host) or last.isdigit() or last.lower().startswith("0x"):
            raise _bad(f"{host[:60]!r} is not a host name") from None
        return
    mapped = getattr(address, "ipv4_mapped", None) or address
    if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified:
        raise _bad(f"{host} is no address of a Git server")


def _check_path(path: str) -> None:
    if not _PATH.fullmatch(path) or path.startswith("-"):
        raise _bad("its path has characters that are not allowed there")


def check_ref(ref: str) -> str:
    """A branch or tag name, or a whole `refs/…` name; empty means the remote's HEAD.

    Raises Refused for what `git check-ref-format` would refuse, and for what looks like an option.
    """
    if not ref:
        return ref
    parts = ref.split("/")
    if (
        len(ref) > MAX_REF
        or not _REF.fullmatch(ref)
        or ".." in ref
        or "@{" in ref
        or ref.endswith(("/", "."))
        or any(not part or part.startswith((".", "-")) or part.endswith(".lock") for part in parts)
    ):
        raise Refused(
            f"{ref[:80]!r} is not a branch or tag name.", "Give a branch or a tag, e.g. main."
        )
    return ref


def check_commit(commit: str) -> str:
    """40 hex digits. Raises Refused."""
    if not COMMIT.fullmatch(commit):
        raise Refused(f"{commit[:80]!r} is not a whole commit id.", "Give all 40 hex digits.")
    return commit


def _bad(why: str, remedy: str = "") -> Refused:
    return Refused(
        f"The address of the repository is refused: {why}.",
        remedy or "Write https://HOST/PATH, ssh://[USER@]HOST/PATH or [USER@]HOST:PATH.",
    )
