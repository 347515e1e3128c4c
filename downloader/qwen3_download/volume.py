"""What the operating system says about the volume, in words and classes that a person or the next try can act on."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from qwen3_download.errors import Failure, Reason

FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_IMPOSSIBLE = {
    errno.EFBIG: "its file system takes no file of this size",
    errno.ENAMETOOLONG: "its file system takes no name of this length",
    errno.EILSEQ: "its file system does not take this name",
    errno.EINVAL: "its file system does not take this file or name",
}
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EBADF)
"""What file systems say that have no fsync of a folder (some FUSE and SMB ones)."""
_WHO_MAY_WRITE = (
    "The volume does not let the download's user write (NFS and CephFS know no fsGroup): let its root folder belong to"
    " the group of the pods, or set runAsUser and fsGroup of download.pod"
)
_WHO_MAY_READ = "Let the group of the pods read it, or set runAsUser and fsGroup of download.pod"


def disk_failure(error: OSError, path: Path, doing: str = "write") -> Failure:
    """A failed call on the volume. `doing`: `write`, `read` or `remove`.

    What is neither full nor refused is the volume's own trouble (EIO, ESTALE, ETIMEDOUT …), which passes.
    """
    if error.errno in FULL:
        if doing == "remove":
            words = "no space left on its volume, not even to remove something: make some room there by hand"
            return Failure(Reason.DISK_FULL, f"cannot remove {path}: {words}")
        return Failure(Reason.DISK_FULL, f"no space left for {path}: make the volume larger; what is there is kept")
    words = f"cannot {doing} {path}: {error.strerror or error}"
    if error.errno in _REFUSED:
        if doing == "read":
            return Failure(Reason.VOLUME_NOT_READABLE, f"{words}. {_WHO_MAY_READ}")
        return Failure(Reason.VOLUME_NOT_WRITABLE, f"{words}. {_WHO_MAY_WRITE}")
    if error.errno in _IMPOSSIBLE and doing == "write":
        return Failure(Reason.VOLUME_NOT_WRITABLE, f"{words}: {_IMPOSSIBLE[error.errno]}")
    return Failure(Reason.VOLUME_ERROR, words)


@contextlib.contextmanager
def reading(path: Path, *, missing: bool = False) -> Iterator[None]:
    """Turns an OSError of the body into a Failure that says `path`, or the file that the error names.

    `missing`: what is not there is a FileNotFoundError.
    """
    try:
        yield
    except OSError as error:
        if missing and isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise FileNotFoundError(error.errno, error.strerror, error.filename) from error
        raise disk_failure(error, named(error, path), "read") from error


def named(error: OSError, otherwise: Path) -> Path:
    """The file that an error is about."""
    return Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else otherwise


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where its file system can."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise
    finally:
        os.close(fd)
