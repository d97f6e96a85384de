"""How git is started so that nothing in a repository or address can make it do more than asked.

No system or user configuration, no prompts, no hooks, no helpers, only the one protocol that the
address needs, and in a child that has given up everything else (`confined`). Credentials reach git
in files of mode 0600 that live as long as the one command; they are in no argument and no
environment variable.
"""

import base64
import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stackd.aio import confined, proc
from stackd.errors import Refused, Unavailable
from stackd.git.urls import Address, Scheme

NETWORK_TIMEOUT = 120.0
LOCAL_TIMEOUT = 60.0
MAX_PACK = 512 * 1024 * 1024
"""Bytes that git may write to one file."""
MAX_MEMORY = 4 * 1024**3
"""Bytes of address space, packs that it maps included."""
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/dev")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
_PASSED_ON = (
    "PATH", *_CERTIFICATES, "HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy",
)  # fmt: skip
_OPTIONS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.attributesFile=/dev/null",
    "transfer.fsckObjects=true",
    "transfer.bundleURI=false",
    "protocol.allow=never",
    "http.followRedirects=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
)


@dataclass(frozen=True, slots=True)
class Credential:
    """Clear credentials for one repository. `token` may be `user:token`."""

    ssh_key: bytes = field(default=b"", repr=False)
    known_hosts: str = ""
    token: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Git:
    """Runs git for one address. `private` is a folder on a tmpfs for the files of one command."""

    address: Address
    private: Path
    credential: Credential = Credential()

    async def run(
        self,
        arguments: Sequence[str],
        *,
        writes: Sequence[Path] = (),
        timeout: float = LOCAL_TIMEOUT,
        network: bool = False,
        given: bytes | None = None,
    ) -> proc.Completed:
        """Run `git ARGUMENTS…` with `given` on its standard input; it can write below `writes`
        only. Raises Unavailable at the
        timeout or when git is missing."""
        with tempfile.TemporaryDirectory(dir=self.private, prefix="git-") as folder:
            job = self._job([*map(str, writes), folder], network=network)
            argv = [sys.executable, "-I", "-S", confined.__file__, json.dumps(job), _program()]
            for option in self._options():
                argv += ["-c", option]
            environment = self._environment(Path(folder), network=network)
            whole = [*argv, *arguments]
            return await proc.run(
                proc.Command(whole, given, env=environment, cwd=folder, timeout=timeout)
            )

    def _job(self, writes: Sequence[str], *, network: bool) -> Mapping[str, object]:
        """What `confined` leaves to git. Root chooses local paths, so these may be read whole:
        such a repository may borrow objects from elsewhere."""
        local = self.address.scheme is Scheme.FILE
        return {
            "size": MAX_PACK,
            "memory": MAX_MEMORY,
            "network": network and not local,
            "foreign": local,
            "reads": ["/"] if local else _system(),
            "writes": list(writes),
        }

    def _options(self) -> Iterator[str]:
        yield from _OPTIONS
        yield f"protocol.{self.address.scheme}.allow=always"

    def _environment(self, folder: Path, *, network: bool) -> Mapping[str, str]:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        config = _write(folder / "config", self._config(network=network).encode())
        environment = {
            **passed,
            "HOME": str(folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(config),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_ALLOW_PROTOCOL": str(self.address.scheme),
            "GIT_NO_REPLACE_OBJECTS": "1",
        }
        if network and self.address.scheme is Scheme.SSH:
            environment["GIT_SSH_COMMAND"] = self._ssh(folder)
            environment["GIT_SSH_VARIANT"] = "ssh"
        return environment

    def _config(self, *, network: bool) -> str:
        """The only configuration file that git reads beside the mirror's own."""
        if self.address.scheme is Scheme.FILE:
            paths = (self.address.url, f"{self.address.url.rstrip('/')}/.git")
            return "[safe]\n" + "".join(f"\tdirectory = {_quoted(path)}\n" for path in paths)
        token = self.credential.token.strip()
        if not network or not token or self.address.scheme is not Scheme.HTTPS:
            return ""
        pair = token if b":" in token else b"x-access-token:" + token
        host = "/".join(self.address.url.split("/", 3)[:3])
        header = f"Authorization: Basic {base64.b64encode(pair).decode()}"
        return f"[http {_quoted(host + '/')}]\n\textraHeader = {_quoted(header)}\n"

    def _ssh(self, folder: Path) -> str:
        hosts = _write(folder / "known_hosts", self.credential.known_hosts.encode())
        argv = [
            "ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
            "-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=yes",
            "-o", f"UserKnownHostsFile={hosts}", "-o", "GlobalKnownHostsFile=/dev/null",
            "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15",
            "-o", "ForwardAgent=no", "-o", "ClearAllForwardings=yes",
            "-o", "PermitLocalCommand=no", "-o", "ProxyCommand=none",
        ]  # fmt: skip
        if self.credential.ssh_key:
            key = self.credential.ssh_key
            argv += ["-i", str(_write(folder / "key", key if key.endswith(b"\n") else key + b"\n"))]
        return shlex.join(argv)


def _program() -> str:
    found = shutil.which("git")
    if found is None:
        raise Unavailable("git is not installed.", "Install it: apt-get install git")
    return found


def _system() -> list[str]:
    """Programs, libraries, certificates and what name resolution reads."""
    named = [os.environ.get(name, "") for name in _CERTIFICATES]
    found = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *named]
    resolver = os.path.realpath("/etc/resolv.conf")
    return [*_SYSTEM, *(path for path in found if path), resolver]


def _write(path: Path, content: bytes) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with contextlib.closing(open(descriptor, "wb")) as file:
        file.write(content)
    return path


def _quoted(value: str) -> str:
    """A value for git's configuration format."""
    if "\n" in value or "\0" in value:
        raise Refused("A path or credential holds a line break.", "Remove it.")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
