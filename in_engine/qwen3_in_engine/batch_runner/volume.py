"""What a volume refuses, as the end of a shard: what another pod would meet as well, and what may pass."""

from __future__ import annotations

import errno

from qwen3_in_engine.batch_runner.contract import AGAIN, Stop

_LASTING = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
}


def stop_of(error: OSError, what: str, code: int, reason: str, words: str) -> Stop:
    """How the file system's refusal of `what` ends a shard: so where it lasts; else (a server of files that does not
    answer, a disk that fails) the next pod tries it again."""
    if error.errno not in _LASTING:
        code, reason, words = AGAIN, "VolumeError", f"the volume of {what} fails"
    return Stop(code, reason, f"{words}: {error.strerror or type(error).__name__}")
