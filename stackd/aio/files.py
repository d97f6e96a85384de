"""Key files and other private files: written whole or not at all, readable by their owner only.

Called by `store.seal` and `pki`, and by whoever keeps a certificate's key.
"""

import os
import secrets
import stat
from pathlib import Path

from stackd.errors import Refused, Unavailable


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` with a 0600 file that holds `data`, durable when this returns.

    Raises Unavailable when the disk does not take it; the old file is then still whole.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}.", "Check the disk.") from (
            error
        )


def read_private(path: Path) -> bytes | None:
    """The content of `path`, None if it is not there.

    Raises Refused when others than its owner may read or change it, or it is not ours.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.", "Check the file.") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode) or mode & 0o077 or status.st_uid != os.geteuid():
            raise Refused(
                f"{path} has mode {mode:04o} and owner {status.st_uid}: others may know it.",
                "Make it 0600 and owned by the user that runs stackd, or replace the key.",
            )
        return file.read()


def sync_directory(path: Path) -> None:
    """Make names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
