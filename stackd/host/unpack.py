"""The unpacker: a child process that turns one layer blob (on stdin) into a folder.

Run by `host.layers` as `python -m stackd.host.unpack`, with one JSON object as argument (`Job`).
It changes its root to the folder before it reads a byte, so that whatever path a hostile layer
names stays inside. Both digests are computed in the same pass, and compared.

Exit codes: 0 done, 2 the layer is unsound, 3 the blob is not what its digest says. The cause is
one line on stderr.
"""

import ctypes
import encodings.idna
import encodings.latin_1
import errno
import hashlib
import json
import os
import resource
import stat  # noqa: F401 - everything must be imported before the root changes
import sys
import tarfile
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

import zstandard

from stackd.aio import confined
from stackd.host import untar

DONE, UNSOUND, MISMATCH = 0, 2, 3
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_LARGEST_WINDOW = 128 * 1024 * 1024
_RATIO_FREE = 32 * 1024 * 1024
_MEMORY = 1024 * 1024 * 1024
_CLONE_NEWNET, _CLONE_NEWIPC = 0x40000000, 0x08000000
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITIES = (0, 1, 3, 4, 21, 27, 31)
"""CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP; SYS_ADMIN is what writing overlay's own
attributes takes. Without SYS_CHROOT and with Landlock there is no way out of the folder."""
_PRELOADED = (encodings.idna, encodings.latin_1)


class Mismatch(Exception):
    """The bytes are not those that the digest names."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to unpack. `ratio`: plain bytes allowed per compressed byte."""

    target: str
    digest: str
    diff_id: str
    entries: int
    size: int
    ratio: int


class Decoder(Protocol):
    """Turns compressed bytes into plain ones, at most about `limit` at a time."""

    def decode(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        """(plain, input not yet used)."""
        ...

    def finish(self) -> None:
        """Raises Unsound when the stream is cut off."""
        ...


class _Plain:
    def decode(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        return data[:limit], data[limit:]

    def finish(self) -> None:
        return


class _Gzip:
    """Any number of members."""

    def __init__(self) -> None:
        self._inner: Any = zlib.decompressobj(31)
        self._fresh = True

    def decode(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        if self._inner.eof:
            self._inner = zlib.decompressobj(31)
        try:
            plain = self._inner.decompress(data, limit)
        except zlib.error as error:
            raise untar.Unsound(f"its gzip stream is damaged: {error}") from error
        rest = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
        return plain, rest

    def finish(self) -> None:
        if not self._inner.eof:
            raise untar.Unsound("its gzip stream is cut off")


class _Zstd:
    """Any number of frames. The decoder has no output limit: small inputs bound it instead."""

    _STEP = 4096

    def __init__(self) -> None:
        self._context = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        self._inner: Any = self._context.decompressobj()

    def decode(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        if self._inner.eof:
            self._inner = self._context.decompressobj()
        step = data[: self._STEP]
        try:
            plain = self._inner.decompress(step)
        except zstandard.ZstdError as error:
            raise untar.Unsound(f"its zstd stream is damaged: {error}") from error
        return plain, (self._inner.unused_data if self._inner.eof else b"") + data[self._STEP :]

    def finish(self) -> None:
        if not self._inner.eof:
            raise untar.Unsound("its zstd stream is cut off")


class Source:
    """The plain bytes of the blob on a descriptor, counted and hashed on both sides."""

    def __init__(self, handle: int, ratio: int) -> None:
        self._handle = handle
        self._ratio = ratio
        self._digest = hashlib.sha256()
        self._diff = hashlib.sha256()
        self._input = self._pull()
        self._decoder = _decoder(self._input)
        self._plain = b""
        self._compressed = len(self._input)
        self._produced = 0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end."""
        while len(self._plain) < size and self._more():
            pass
        data, self._plain = self._plain[:size], self._plain[size:]
        return data

    def finish(self, job: Job) -> None:
        """Read what follows the archive (its padding counts) and compare. Raises Mismatch."""
        self._plain = b""
        while self._more():
            self._plain = b""
        self._decoder.finish()
        if f"sha256:{self._digest.hexdigest()}" != job.digest:
            raise Mismatch("the blob's digest differs")
        if f"sha256:{self._diff.hexdigest()}" != job.diff_id:
            raise untar.Unsound("its content is not what the image's config names")

    def drain(self) -> str:
        """The digest of the whole blob, whatever it contains: tells damage from malice."""
        self._input = b"-"
        while self._input:
            self._input = self._pull()
        return f"sha256:{self._digest.hexdigest()}"

    def _more(self) -> bool:
        """Decode one more block; False at the end of the blob."""
        if not self._input:
            self._input = self._pull()
            self._compressed += len(self._input)
            if not self._input:
                return False
        plain, self._input = self._decoder.decode(self._input, _CHUNK)
        self._diff.update(plain)
        self._plain += plain
        self._produced += len(plain)
        if self._produced > _RATIO_FREE + self._ratio * self._compressed:
            raise untar.Unsound(f"it grows more than {self._ratio} times when decompressed")
        return True

    def _pull(self) -> bytes:
        data = os.read(self._handle, _CHUNK)
        self._digest.update(data)
        return data


def _decoder(start: bytes) -> Decoder:
    if start.startswith(_GZIP):
        return _Gzip()
    return _Zstd() if start.startswith(_ZSTD) else _Plain()


def unpack(source: Source, job: Job) -> None:
    """Write the layer into the current root. Raises Unsound, Mismatch."""
    writer = untar.Writer(untar.Limits(job.entries, job.size))
    stream: Any = source
    try:
        with tarfile.open(
            fileobj=stream,
            mode="r|",
            bufsize=_CHUNK,
            encoding="utf-8",
            errors="surrogateescape",
        ) as archive:
            for entry in archive:
                writer.add(entry, archive)
                vars(archive)["members"] = []  # else they pile up in memory
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise untar.Unsound(f"it is not a sound archive: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise  # the node's trouble, not the layer's
        raise untar.Unsound(f"{error.strerror}: {str(error.filename)[:200]}") from error
    except MemoryError as error:
        raise untar.Unsound("its headers need too much memory") from error
    writer.finish()
    source.finish(job)


def confine(job: Job) -> None:
    """Give up whatever unpacking does not need."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    os.umask(0)
    os.chroot(job.target)
    os.chdir("/")
    os.chmod("/", 0o755)  # unless the layer says otherwise
    confined.landlock(reads=(), writes=("/",))
    confined.drop_capabilities(_CAPABILITIES)
    confined.keep_capabilities(_CAPABILITIES)
    resource.setrlimit(resource.RLIMIT_FSIZE, (job.size, job.size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


def sync() -> None:
    """Everything written so far survives a power loss."""
    handle = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        ctypes.CDLL(None, use_errno=True).syncfs(handle)
    finally:
        os.close(handle)


def main(argv: list[str]) -> int:
    """`argv` is [JSON of Job]. Returns the exit code."""
    job = Job(**json.loads(argv[0]))
    confine(job)
    source = Source(0, job.ratio)
    try:
        unpack(source, job)
        sync()
    except Mismatch as error:
        return _say(MISMATCH, str(error))
    except untar.Unsound as error:
        damaged = source.drain() != job.digest
        return _say(MISMATCH if damaged else UNSOUND, str(error))
    return DONE


def _say(code: int, text: str) -> int:
    sys.stderr.write(text.replace("\n", " ") + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
