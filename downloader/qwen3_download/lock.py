"""One writer for a target: flock where the filesystem has it, and always a heartbeat that others can watch.

flock alone is not enough: some shared filesystems lack it, others keep it to one node. So the owner also changes the
lock file every few seconds. A waiter takes over when it holds the flock (where there is one) and either the last owner
ran under the same kernel, which then has released the flock because that owner is dead, or the file has not changed
for `STALE` seconds of the waiter's own monotonic clock. No clocks are compared, so a clock that jumps does no harm.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from qwen3_download.errors import Failure, Reason

BEAT = 3.0
STALE = 15.0
_NO_FLOCK = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


class Lock:
    """Use `held()`. `waiting` is called with the owner's name while somebody else holds the lock."""

    def __init__(self, path: Path, stopped: threading.Event, waiting: Callable[[str], None]) -> None:
        self._path = path
        self._stopped = stopped
        self._waiting = waiting
        self._owner = uuid.uuid4().hex
        self._beats = 0
        self._fd = -1
        self._ended = threading.Event()
        self.lost = threading.Event()

    @contextlib.contextmanager
    def held(self, wait: bool = True) -> Iterator[bool]:
        """Hold the lock; without `wait`, yields False when it is not to be had at once.

        Raises Failure(Stopped) when told to stop while waiting.
        """
        if not self._acquire(wait):
            yield False
            return
        beat = threading.Thread(target=self._keep_beating, name="lock", daemon=True)
        beat.start()
        try:
            yield True
        finally:
            self._ended.set()
            beat.join()
            self._release()

    def confirm(self) -> None:
        """Raises Failure(Stopped) when another process has taken the lock meanwhile."""
        if self.lost.is_set() or not self._mine():
            self.lost.set()
            raise Failure(Reason.STOPPED, f"another process took {self._path} over")

    def _acquire(self, wait: bool) -> bool:
        seen, seen_at, told = b"", 0.0, 0.0
        while not self._stopped.is_set():
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
            flock = self._flock()
            record = os.pread(self._fd, 4096, 0)
            now = time.monotonic()
            if record != seen:
                seen, seen_at = record, now
            if flock is not False and self._current():
                free = not record or now - seen_at > STALE
                if free or (flock and _same_kernel(record)):
                    self._beat()
                    # Without flock two waiters may come here at once: the last to write stays, the other sees it.
                    if flock or (not self._stopped.wait(0.5) and self._mine()):
                        return True
            os.close(self._fd)
            if not wait:
                return False
            if now - told > 10:
                told = now
                self._waiting(_name(record))
            self._stopped.wait(0.5)
        raise Failure(Reason.STOPPED, f"stopped while another process held {self._path}")

    def _flock(self) -> bool | None:
        """True: got it, False: somebody has it, None: this filesystem has none."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_FLOCK:
                return None
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def _current(self) -> bool:
        """Whether the opened file still is the one at the path (its last owner removes it)."""
        try:
            return os.fstat(self._fd).st_ino == self._path.stat().st_ino
        except FileNotFoundError:
            return False

    def _beat(self) -> None:
        self._beats += 1
        record = {"owner": self._owner, "host": socket.gethostname(), "pid": os.getpid(), "kernel": kernel_id()}
        text = json.dumps(record | {"beat": self._beats}).encode()
        os.pwrite(self._fd, text.ljust(512), 0)

    def _mine(self) -> bool:
        try:
            return self._current() and _parse(os.pread(self._fd, 4096, 0)).get("owner") == self._owner
        except OSError:
            return False

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT):
            if not self._mine():
                self.lost.set()
                self._stopped.set()
                return
            # A volume that refuses a write shows that in the transfer; a beat must not end the process.
            with contextlib.suppress(OSError):
                self._beat()

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            if self._mine():
                self._path.unlink()
        os.close(self._fd)


def kernel_id() -> str:
    """Identifies the running kernel, the same for all containers of a node; "" where it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _parse(record: bytes) -> dict[str, object]:
    try:
        data = json.loads(record)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _same_kernel(record: bytes) -> bool:
    return bool(kernel_id()) and _parse(record).get("kernel") == kernel_id()


def _name(record: bytes) -> str:
    data = _parse(record)
    return f"{data.get('host', 'unknown')} (pid {data.get('pid', '?')})"
