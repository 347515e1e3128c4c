"""One process's bid for a lock file, without clock and threads: each call is given the time.

The file holds who owns it, and a number that its owner raises every few seconds. flock is not enough: some shared file
systems lack it, and NFS with `nolock` or `local_lock`, as clouds ask for, keeps it to one node. Nor is a write:
an NFS client sends it when its page is old (30 s), and reads its own pages again. So each beat is flushed, and what is
read is asked of the server: by a new open (close-to-open), past the page cache (O_DIRECT) where the file system can.

Who finds no file creates it, which the server gives to one only. Who finds one takes it over when its owner must be
dead: it ran under this kernel, which has released its flock, or the file has not changed for `STALE` seconds of the
waiter's own clock. Then it waits whether another did the same. An owner that could not beat for `FENCE` seconds
does not believe that it owns anything any more, before others begin to.

A full volume takes a file, but not what is in it. What was created is owned all the same, for it is what frees room, or
says how much is missing: others see an empty record, and wait for `STALE` seconds as for any that does not change.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from qwen3_download.volume import FULL

BEAT = 3.0
FENCE = 60.0
STALE = 90.0
"""Seconds: the longest that an NFS client believes its attributes (acregmax, 60 s) and the age at which it writes its
pages back (30 s), together."""
SETTLE = 1.0
_PAGE = 4096
_NO_FLOCK = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL)


class System(Protocol):
    """The calls of `os` that are made; a test puts another client's cache in their place."""

    def open(self, path: Path, flags: int, mode: int = ..., /) -> int: ...
    def close(self, fd: int, /) -> None: ...
    def preadv(self, fd: int, buffers: Sequence[mmap.mmap], offset: int, /) -> int: ...
    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int: ...
    def fdatasync(self, fd: int, /) -> None: ...
    def unlink(self, path: Path, /) -> None: ...


class Bid:
    """`try_take` until it is true, then `beat`, and `release` in the end."""

    def __init__(self, path: Path, system: System = os, kernel: str | None = None) -> None:
        self._path = path
        self._system = system
        self._kernel = kernel_id() if kernel is None else kernel
        self._owner = uuid.uuid4().hex
        self._fd = -1
        self._beats = 0
        self._beaten_at = 0.0
        self._seen, self._seen_at = b"", -1.0
        self._took_over_at: float | None = None
        self._unwritten = False  # it is ours, but the volume is full

    def try_take(self, now: float) -> bool:
        """Whether the lock is ours now. Raises OSError."""
        try:
            ours = self._try(now)
        except OSError:
            self._close()
            raise
        if not ours and not self.settling:
            self._close()
        return ours

    @property
    def settling(self) -> bool:
        """Whether it has taken over, and waits whether another did the same."""
        return self._took_over_at is not None

    @property
    def holder(self) -> str:
        """Who had the lock when it was last read, for people."""
        data = _parse(self._seen)
        return f"{data.get('host', 'unknown')} (pid {data.get('pid', '?')})"

    def beat(self, now: float) -> bool:
        """Whether the lock is still ours. A volume that fails for a moment is no loss; see `expired`."""
        try:
            if not self._is_ours():
                return False
            self._write(now)
        except OSError:
            pass
        return not self.expired(now)

    def expired(self, now: float) -> bool:
        """Whether the last beat is so long ago that others may begin to think of taking over."""
        return now - self._beaten_at > FENCE

    def confirm(self) -> bool:
        """Whether the lock is ours, at this moment. Raises OSError."""
        return self._is_ours()

    def release(self) -> None:
        with contextlib.suppress(OSError):
            if self._is_ours():
                self._system.unlink(self._path)
        self._close()

    def _try(self, now: float) -> bool:
        if self._took_over_at is None and self._create():
            self._write_if_room(now)
            return self._is_ours()
        try:
            if self._took_over_at is not None:
                return self._has_settled(now)
            self._take_over_the_dead(now)
        except FileNotFoundError:  # its owner has just removed it
            self._took_over_at = None
        return False

    def _take_over_the_dead(self, now: float) -> None:
        """Take over what a dead owner left."""
        self._fd = self._system.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        flock, record = self._flock(), self._read()
        if record != self._seen or self._seen_at < 0:
            self._seen, self._seen_at = record, now
        stale = now - self._seen_at > STALE
        if flock is not False and (stale or (flock and self._is_of_this_kernel(record))):
            self._took_over_at = now
            # Where the record is empty and flock keeps others out, no block is needed to own it.
            self._write_if_room(now) if flock and _is_empty(record) else self._write(now)

    def _has_settled(self, now: float) -> bool:
        if self._took_over_at is None or now - self._took_over_at < SETTLE:
            return False
        self._took_over_at = None
        return self._is_ours()

    def _create(self) -> bool:
        """Whether there was none. Raises OSError, also where there is no folder for it."""
        try:
            self._fd = self._system.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o664)
        except FileExistsError:
            return False
        self._flock()
        return True

    def _flock(self) -> bool | None:
        """True: got it, False: somebody has it, None: this file system has none."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_FLOCK:
                return None
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def _write_if_room(self, now: float) -> None:
        """Without room, a beat writes it as soon as there is some."""
        try:
            self._write(now)
        except OSError as error:
            if error.errno not in FULL:
                raise
            self._unwritten, self._beaten_at = True, now

    def _write(self, now: float) -> None:
        self._beats += 1
        record = {"owner": self._owner, "host": socket.gethostname(), "pid": os.getpid(), "kernel": self._kernel}
        text = json.dumps(record | {"beat": self._beats}).encode()
        self._system.pwrite(self._fd, text.ljust(512), 0)
        self._system.fdatasync(self._fd)
        self._unwritten, self._beaten_at = False, now

    def _read(self) -> bytes:
        """The record as the server has it. Raises OSError."""
        page = mmap.mmap(-1, _PAGE)  # aligned, as O_DIRECT wants it
        for flags in (os.O_RDONLY | os.O_DIRECT, os.O_RDONLY):
            try:
                fd = self._system.open(self._path, flags | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.EINVAL and flags & os.O_DIRECT:
                    continue  # a file system without it
                raise
            try:
                return page[: self._system.preadv(fd, [page], 0)].rstrip()
            except OSError as error:
                if error.errno != errno.EINVAL or not flags & os.O_DIRECT:
                    raise
            finally:
                self._system.close(fd)
        raise AssertionError("unreachable")

    def _is_ours(self) -> bool:
        try:
            record = self._read()
        except FileNotFoundError:
            return False
        return (self._unwritten and _is_empty(record)) or _parse(record).get("owner") == self._owner

    def _is_of_this_kernel(self, record: bytes) -> bool:
        return bool(self._kernel) and _parse(record).get("kernel") == self._kernel

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._system.close(fd)


def kernel_id() -> str:
    """Identifies the running kernel, the same for all containers of a node; "" where it cannot be read."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _is_empty(record: bytes) -> bool:
    """Also a hole, as a write leaves it that found no room."""
    return not record.strip(b"\0")


def _parse(record: bytes) -> dict[str, object]:
    try:
        data = json.loads(record)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
