"""A model of a file on NFS, as its clients see it: each has a page cache and attributes of its own, and one server.

By nfs(5) and the Linux client: what is written stays in the client until it is flushed, its file is closed, or it is
30 s old. What is read comes from the pages that are there, until the client learns that the file changed; it asks when
a file is opened (close-to-open), or with `nocto` only when its attributes are 60 s old. O_DIRECT asks the server. A
file is created by one client only (O_EXCL). Locks are each node's own (`nolock`).
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

WRITE_BACK = 30.0
ATTRIBUTES = 60.0


class Buffer(Protocol):
    def __setitem__(self, index: slice, value: bytes, /) -> None: ...


@dataclass
class Inode:
    data: bytes = b""
    change: int = 0


@dataclass
class Server:
    """`now` in seconds."""

    now: float = 0.0
    names: dict[Path, Inode] = field(default_factory=dict)
    fds: itertools.count[int] = field(default_factory=lambda: itertools.count(1000))


@dataclass
class Pages:
    """What a client has of an inode."""

    data: bytes
    change: int
    asked_at: float
    dirty_at: float | None = None


@dataclass
class Open:
    inode: Inode
    direct: bool


class Client:
    """The calls of `os` on one node. `cut`: the server does not answer. `flushes`: whether fdatasync does anything;
    `direct`: whether O_DIRECT is known."""

    def __init__(self, server: Server, *, nocto: bool = False, flushes: bool = True, direct: bool = True) -> None:
        self.server = server
        self.cut = False
        self._nocto = nocto
        self._flushes = flushes
        self._direct = direct
        self._pages: dict[int, Pages] = {}
        self._inodes: dict[int, Inode] = {}
        self._open: dict[int, Open] = {}
        self._locked: dict[int, int] = {}

    def has(self, fd: int) -> bool:
        return fd in self._open

    def open(self, path: Path, flags: int, mode: int = 0o777, /) -> int:
        self._ask()
        inode = self.server.names.get(path)
        if flags & os.O_CREAT:
            if inode is not None and flags & os.O_EXCL:
                raise FileExistsError(errno.EEXIST, "File exists")
            inode = self.server.names.setdefault(path, Inode())
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        if flags & os.O_DIRECT and not self._direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        fd = next(self.server.fds)
        self._open[fd] = Open(inode, bool(flags & os.O_DIRECT))
        self._inodes[id(inode)] = inode
        self._revalidate(inode, now=not self._nocto)
        return fd

    def close(self, fd: int, /) -> None:
        it = self._open.pop(fd)
        self._locked = {inode: holder for inode, holder in self._locked.items() if holder != fd}
        if not self.cut:
            self._flush(it.inode)

    def preadv(self, fd: int, buffers: Sequence[Buffer], offset: int, /) -> int:
        it = self._open[fd]
        if it.direct:
            self._ask()
            self._flush(it.inode)
            data = it.inode.data
        else:
            data = self._cached(it.inode).data
        buffers[0][: len(data)] = data
        return len(data)

    def pwrite(self, fd: int, data: bytes, offset: int, /) -> int:
        pages = self._cached(self._open[fd].inode)
        pages.data = data
        pages.dirty_at = self.server.now if pages.dirty_at is None else pages.dirty_at
        return len(data)

    def fdatasync(self, fd: int, /) -> None:
        if self._flushes:
            self._ask()
            self._flush(self._open[fd].inode)

    def unlink(self, path: Path, /) -> None:
        self._ask()
        if self.server.names.pop(path, None) is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    def flock(self, fd: int) -> None:
        """On this node alone."""
        inode = id(self._open[fd].inode)
        if self._locked.setdefault(inode, fd) != fd:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    def write_back(self) -> None:
        """What the kernel does by itself as time passes."""
        for number, pages in self._pages.items():
            old = pages.dirty_at is not None and self.server.now - pages.dirty_at >= WRITE_BACK
            if old and not self.cut:
                self._flush(self._inodes[number])

    def _ask(self) -> None:
        if self.cut:
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    def _cached(self, inode: Inode) -> Pages:
        self._revalidate(inode, now=False)
        return self._pages[id(inode)]

    def _revalidate(self, inode: Inode, *, now: bool) -> None:
        pages = self._pages.get(id(inode))
        if pages and (self.cut or not (now or self.server.now - pages.asked_at > ATTRIBUTES)):
            return
        self._ask()
        if pages is None or (pages.change != inode.change and pages.dirty_at is None):
            pages = self._pages[id(inode)] = Pages(inode.data, inode.change, self.server.now)
        pages.asked_at = self.server.now

    def _flush(self, inode: Inode) -> None:
        pages = self._pages.get(id(inode))
        if pages and pages.dirty_at is not None:
            inode.data, inode.change = pages.data, inode.change + 1
            pages.change, pages.dirty_at = inode.change, None
