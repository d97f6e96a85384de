"""Registries, through `skopeo`: read a manifest, copy an image's blobs, check a login.

The image policy is explicit: any image may be read, since stackd pins digests and verifies bytes
itself; signatures are judged elsewhere. The machine's own credentials are never used.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackd.aio import proc
from stackd.errors import Refused, StackdError, Unavailable
from stackd.registry.manifest import MAX_DOCUMENT
from stackd.registry.reference import Reference

INSPECT_TIMEOUT = 30.0
COPY_TIMEOUT = 570.0
"""Seconds; below the deadline of a task that waits for its image."""
_PASSED_ON = (
    "PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip
_FATAL = re.compile(r'level=fatal msg="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Access:
    """How a registry is spoken to. `insecure`: plain HTTP or an unknown certificate is allowed."""

    username: str = ""
    password: str = ""
    insecure: bool = False

    def __repr__(self) -> str:
        return f"Access({self.username!r}, insecure={self.insecure})"


class Skopeo:
    """Runs skopeo. `tmp` is on the blob store's file system; `private` is a folder for
    credentials, on a tmpfs."""

    def __init__(self, blobs: Path, tmp: Path, private: Path) -> None:
        self._blobs = blobs
        self._tmp = tmp
        self._private = private

    async def manifest(self, reference: Reference, access: Access) -> tuple[str, bytes]:
        """The digest and the bytes of what the name means now, an index or a manifest.

        Raises Refused (unknown, not allowed, wrong digest) or Unavailable.
        """
        argv = ["inspect", "--raw", "--retry-times", "2", _tls("--tls-verify", access)]
        document = await self._run(argv, reference, access, INSPECT_TIMEOUT)
        if len(document) > MAX_DOCUMENT:
            raise Refused(f"The manifest of {reference.short} is larger than 4 MiB.")
        digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
        if reference.digest not in ("", digest):
            raise Refused(f"The registry answered {reference.short} with another content.")
        return digest, document

    async def copy(self, reference: Reference, access: Access) -> None:
        """Fetch the blobs of one manifest, given by digest, into the blob store."""
        assert reference.digest
        with tempfile.TemporaryDirectory(dir=self._tmp, prefix="pull-") as folder:
            argv = [
                "copy", "--quiet", "--preserve-digests", "--retry-times", "3",
                "--dest-shared-blob-dir", str(self._blobs), _tls("--src-tls-verify", access),
            ]  # fmt: skip
            target = f"oci:{folder}/layout:x"
            await self._run(argv, reference, access, COPY_TIMEOUT, target, folder)

    async def copy_archive(self, source: str, layout: Path) -> None:
        """Convert a `docker-archive:…` into an OCI layout; blobs go to the blob store."""
        argv = [
            "copy", "--quiet", "--dest-shared-blob-dir", str(self._blobs), source,
            f"oci:{layout}:x",
        ]  # fmt: skip
        done = await self._start(argv, layout.parent, COPY_TIMEOUT)
        if done.code:
            raise Refused(f"The archive cannot be read: {_cause(done)}.")

    async def login(self, host: str, access: Access) -> None:
        """Ask the registry whether it takes these credentials. Raises Refused, Unavailable."""
        with tempfile.TemporaryDirectory(dir=self._private) as folder:
            argv = [
                "login", "--authfile", f"{folder}/auth.json", "--username", access.username,
                "--password-stdin", _tls("--tls-verify", access), host,
            ]  # fmt: skip
            password = access.password.encode()
            done = await self._start(argv, Path(folder), INSPECT_TIMEOUT, password)
        if done.code:
            raise translate(_cause(done), host, host)

    async def _run(
        self,
        argv: Sequence[str],
        reference: Reference,
        access: Access,
        timeout: float,
        *target: str,
    ) -> bytes:
        source = f"docker://{reference.name}" + (
            f"@{reference.digest}" if reference.digest else f":{reference.tag or 'latest'}"
        )
        with self._authfile(reference.registry, access) as authfile:
            flag = "--src-authfile" if target else "--authfile"
            folder = Path(target[1]) if target else self._tmp
            try:
                done = await self._start(
                    [*argv, flag, authfile, source, *target[:1]], folder, timeout
                )
            except Unavailable as error:
                raise Unavailable(
                    f"{reference.registry} gave no answer about {reference.short} in {timeout:g}s.",
                    "Check the image's name and the network, or load it: stackd image load",
                ) from error
        if done.code:
            raise translate(_cause(done), reference.short, reference.registry)
        return done.stdout

    async def _start(
        self, argv: Sequence[str], folder: Path, timeout: float, data: bytes | None = None
    ) -> proc.Completed:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        command = proc.Command(
            ["skopeo", "--insecure-policy", "--tmpdir", str(folder), *argv],
            input=data,
            env={**environment, "HOME": str(self._private), "LC_ALL": "C"},
            timeout=timeout,
        )
        return await proc.run(command)

    @contextlib.contextmanager
    def _authfile(self, registry: str, access: Access) -> Iterator[str]:
        """A file for this one command; without credentials it is empty, so that no others are
        found by accident."""
        auths = {}
        if access.username:
            pair = f"{access.username}:{access.password}".encode()
            auths[registry] = {"auth": base64.b64encode(pair).decode()}
        with tempfile.TemporaryDirectory(dir=self._private) as folder:
            path = Path(folder) / "auth.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps({"auths": auths}))
            yield str(path)


def _tls(flag: str, access: Access) -> str:
    return f"{flag}={'false' if access.insecure else 'true'}"


def _cause(done: proc.Completed) -> str:
    """skopeo's own last words, without its wrapping."""
    text = done.stderr.decode("utf-8", "replace")
    found = _FATAL.findall(text)
    cause: str = found[-1].replace('\\"', '"').replace("\\n", " ") if found else done.error
    return cause[-500:]


_ANSWERS: Sequence[tuple[str, type[StackdError], str, str]] = (
    ("server gave HTTP response to HTTPS client", Refused,
     "{host} speaks plain HTTP, not HTTPS.",
     "If that is meant, run `stackd registry login {host} --insecure`."),
    ("x509:|certificate|tls: ", Refused,
     "The certificate of {host} is not trusted.",
     "Install its CA on the managers, or run `stackd registry login {host} --insecure`."),
    ("no image found in image index|no image found in manifest list", Refused,
     "{name} does not exist for this machine's architecture.", "Build it for this one too."),
    ("toomanyrequests|429 ", Unavailable,
     "{host} answers that there were too many requests.", "Log in, or wait."),
    ("unauthorized|authentication required|access denied|denied:|invalid username|403 |401 ",
     Refused, "{host} does not let this cluster have {name}: unauthorized.",
     "Run `stackd registry login {host}` with an account that may read it."),
    ("manifest unknown|name unknown|repository name not known|status 404|404 |not found", Refused,
     "{name} does not exist in {host}.", "Check the name and the tag."),
    ("connection refused", Unavailable, "{host} refuses connections.",
     "Check that the registry runs and that managers can reach it."),
    ("no such host|server misbehaving", Unavailable, "The host name {host} is not known.",
     "Check the image name and the managers' DNS."),
)  # fmt: skip


def translate(cause: str, name: str, host: str) -> StackdError:
    """skopeo's error as one sentence of cause and one of what to do."""
    for pattern, kind, text, remedy in _ANSWERS:
        if re.search(pattern, cause):
            words: Mapping[str, str] = {"name": name, "host": host}
            return kind(text.format(**words), remedy.format(**words))
    return Unavailable(f"{name} cannot be had from {host}: {cause}.", "Try again later.")
