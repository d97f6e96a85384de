"""Writing the entries of a layer into the current root, with system calls of our own.

Runs only inside the unpacker (`host.unpack`), which has chrooted into the layer's folder: every
path is a path in that folder, whatever symlinks the layer makes. Python's tarfile only parses.
"""

import contextlib
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_XATTR = "SCHILY.xattr."
_OVERLAY_OPAQUE = "trusted.overlay.opaque"
_CAPABILITY = "security.capability"
_LONGEST_NAME = 4095
_BLOCK = 1 << 20
_NANO = 1_000_000_000
_LATEST = 1 << 33


class Unsound(Exception):
    """The layer must not be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one layer may contain."""

    entries: int
    size: int
    """Bytes of all files together."""


class Writer:
    """Writes entries below `/`. `finish` sets the times of folders, which later entries change."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folders: dict[str, int] = {}
        self.entries = 0
        self.size = 0

    def add(self, entry: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        """Write one entry. Raises Unsound, OSError."""
        self.entries += 1
        if self.entries > self._limits.entries:
            raise Unsound(f"it has more than {self._limits.entries} entries")
        parts = _parts(entry.name)
        if not parts:
            self._root(entry)
            return
        folder, name = "/" + "/".join(parts[:-1]), parts[-1]
        self._parents(parts[:-1])
        if name.startswith(_WHITEOUT):
            self._whiteout(folder, name)
            return
        path = f"{folder.rstrip('/')}/{name}"
        if self._make(entry, archive, path):
            self._attributes(entry, path)

    def finish(self) -> None:
        """Set folder times, deepest first."""
        for path, when in sorted(self._folders.items(), reverse=True):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if stat.S_ISDIR(os.lstat(path).st_mode):  # not replaced by a later entry
                    os.utime(path, ns=(when, when), follow_symlinks=False)

    def _root(self, entry: tarfile.TarInfo) -> None:
        if not entry.isdir():
            raise Unsound("its root is not a folder")
        self._attributes(entry, "/")

    def _parents(self, parts: list[str]) -> None:
        path = ""
        for part in parts:
            path = f"{path}/{part}"
            found = _lstat(path)
            if found is None:
                os.mkdir(path, 0o755)
            elif _is_whiteout(found):
                _replace_by_folder(path, found)

    def _whiteout(self, folder: str, name: str) -> None:
        if name == _OPAQUE:
            os.setxattr(folder, _OVERLAY_OPAQUE, b"y")
            return
        hidden = name[len(_WHITEOUT) :]
        if hidden.startswith(_WHITEOUT):
            return  # bookkeeping of another union file system
        if hidden in ("", ".", ".."):
            raise Unsound(f"it has the whiteout {name!r}")
        path = f"{folder.rstrip('/')}/{hidden}"
        found = _lstat(path)
        if found is None:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(0, 0))
        elif stat.S_ISDIR(found.st_mode):
            os.setxattr(path, _OVERLAY_OPAQUE, b"y")

    def _make(self, entry: tarfile.TarInfo, archive: tarfile.TarFile, path: str) -> bool:
        """Create the entry itself; False when there is nothing to set attributes of."""
        if entry.isdir():
            self._folder(path)
            return True
        if entry.ischr() or entry.isblk():
            if path.startswith("/dev/"):
                return False  # /dev is always the container's own
            raise Unsound(f"it has the device {path}")
        if entry.islnk():
            self._link(path, entry.linkname)
            return False
        _clear(path)
        if entry.issym():
            os.symlink(_checked(entry.linkname), path)
        elif entry.isfifo():
            os.mkfifo(path, 0o600)
        elif entry.isreg() or entry.sparse is not None:
            self._file(entry, archive, path)
        else:
            raise Unsound(f"{path} is of an unknown kind")
        return True

    def _folder(self, path: str) -> None:
        found = _lstat(path)
        if found is None:
            os.mkdir(path, 0o755)
        elif not stat.S_ISDIR(found.st_mode):
            _replace_by_folder(path, found)

    def _link(self, path: str, target: str) -> None:
        parts = _parts(target)
        source = "/" + "/".join(parts)
        found = _lstat(source)
        if found is None or stat.S_ISDIR(found.st_mode) or stat.S_ISCHR(found.st_mode):
            raise Unsound(f"the hard link {path} has no target in this layer")
        if source == path:
            return
        _clear(path)
        os.link(source, path, follow_symlinks=False)

    def _file(self, entry: tarfile.TarInfo, archive: tarfile.TarFile, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(path, flags, 0o600)
        source = archive.fileobj
        if source is None:
            raise Unsound("the archive is closed")
        try:
            for offset, length in _segments(entry):
                self._copy(source, handle, offset, length)
            os.ftruncate(handle, entry.size)
        finally:
            os.close(handle)

    def _copy(self, source: Any, handle: int, offset: int, length: int) -> None:
        if self.size + length > self._limits.size:
            raise Unsound(f"it holds more than {self._limits.size} bytes")
        while length:
            block = source.read(min(length, _BLOCK))
            if not block:
                raise Unsound("it ends inside a file")
            written = 0
            while written < len(block):
                written += os.pwrite(handle, block[written:], offset + written)
            offset += len(block)
            length -= len(block)
            self.size += len(block)

    def _attributes(self, entry: tarfile.TarInfo, path: str) -> None:
        os.chown(path, _id(entry.uid), _id(entry.gid), follow_symlinks=False)
        if not entry.issym():
            os.chmod(path, entry.mode & 0o7777)
        for name, value in _xattrs(entry):
            os.setxattr(path, name, value, follow_symlinks=False)
        when = _nanoseconds(entry)
        if entry.isdir():
            self._folders[path] = when
        else:
            os.utime(path, ns=(when, when), follow_symlinks=False)


def _parts(name: str) -> list[str]:
    """The parts of a path inside the layer. Raises Unsound for a way out of it."""
    parts = [part for part in _checked(name).split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Unsound(f"the path {name[:100]!r} leads out of it")
    return parts


def _checked(name: str) -> str:
    if "\0" in name or len(os.fsencode(name)) > _LONGEST_NAME:
        raise Unsound(f"it has the impossible name {name[:100]!r}")
    return name


def _segments(entry: tarfile.TarInfo) -> Iterator[tuple[int, int]]:
    """(offset, length) of the data that follows in the stream. Raises Unsound for size lies."""
    if entry.size < 0:
        raise Unsound(f"{entry.name[:100]!r} has a negative size")
    if entry.sparse is None:
        yield 0, entry.size
        return
    holes: Any = entry.sparse
    for offset, length in holes:
        if offset < 0 or length < 0 or offset + length > entry.size:
            raise Unsound(f"{entry.name[:100]!r} has impossible holes")
        yield offset, length


def _xattrs(entry: tarfile.TarInfo) -> list[tuple[str, bytes]]:
    """Only those that a layer may set; a file capability last, since a chown drops it."""
    found = []
    for key, value in entry.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name != key and (name.startswith("user.") or name == _CAPABILITY):
            found.append((name, value.encode("utf-8", "surrogateescape")))
    if entry.issym():
        return []
    return sorted(found, key=lambda item: item[0] == _CAPABILITY)


def _id(number: int) -> int:
    if not 0 <= number < 2**32 - 1:
        raise Unsound(f"it has the impossible owner {number}")
    return number


def _nanoseconds(entry: tarfile.TarInfo) -> int:
    """Modification time; PAX gives it as a decimal text, which a float would round."""
    text = entry.pax_headers.get("mtime", "")
    whole, _, fraction = text.partition(".")
    if whole.isdigit() and len(whole) < 12:
        digits = (fraction + "000000000")[:9]
        value = int(whole) * _NANO + (int(digits) if digits.isdigit() else 0)
    else:
        value = int(entry.mtime) * _NANO
    return min(max(value, 0), _LATEST * _NANO)


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        _not_a_folder(path)


def _not_a_folder(path: str) -> NoReturn:
    raise Unsound(f"{path[:100]!r} lies below something that is not a folder")


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _replace_by_folder(path: str, found: os.stat_result) -> None:
    """A folder in place of a whiteout must go on hiding what the lower layers have there."""
    os.unlink(path)
    os.mkdir(path, 0o755)
    if _is_whiteout(found):
        os.setxattr(path, _OVERLAY_OPAQUE, b"y")


def _clear(path: str) -> None:
    """Nothing may be at `path` when it is created: else a link there would be followed."""
    found = _lstat(path)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        shutil.rmtree(path)
    else:
        os.unlink(path)
