"""A network of its own for a gateway and the servers behind it: nothing in it reaches, or is reached from, outside.

The gateway's programs want fixed ports, and simulated pods have invented addresses: in here both are free to be had.
What has to cross (the API server's port, users at the gateway) is carried over by `bridge`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Connect = Callable[[], socket.socket]

PODS = "10.0.0.0/8"
"""Every address of simulated pods; all of them are this network's own."""
_SETUP = f"ip link set lo up && ip route add local {PODS} dev lo && echo up && exec cat"
_CLONE_NEWNET = 0x40000000


class Network:
    """The network, for as long as a process of its own keeps it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _SETUP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "up\n", "no network namespace can be made here"
        self._file = f"/proc/{self._holder.pid}/ns/net"
        self._bridges: list[socket.socket] = []

    def close(self) -> None:
        for listener in self._bridges:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._holder.kill()
        self._holder.communicate()

    @property
    def words(self) -> tuple[str, ...]:
        """Words before a command that has it run in here."""
        return ("nsenter", f"--net={self._file}")

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def process(
        self, *command: str | Path, log: Path, root: Path | None = None, environment: dict[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A program in here, its output in `log`; in `root` it sees no other file."""
        inside = ["chroot", str(root)] if root else []
        words = [*self.words, *inside, *map(str, command)]
        with log.open("ab") as output:
            process = subprocess.Popen(
                words, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=os.environ | (environment or {})
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, *command: str | Path, root: Path, environment: dict[str, str]) -> None:
        """A program in here, to its end."""
        words = [*self.words, "chroot", str(root), *map(str, command)]
        done = subprocess.run(words, env=os.environ | environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def listen(self, host: str, port: int) -> socket.socket:
        """A socket that listens in here."""
        return self._inside(lambda: socket.create_server((host, port), backlog=256))

    def connect(self, port: int, host: str = "127.0.0.1") -> socket.socket:
        """A connection to a port in here."""
        return self._inside(lambda: socket.create_connection((host, port), timeout=10))

    def lead_out(self, port: int) -> None:
        """127.0.0.1:`port` in here is that of outside."""
        self._bridge(self.listen("127.0.0.1", port), lambda: socket.create_connection(("127.0.0.1", port)))

    def lead_in(self, port: int, host: str = "127.0.0.1") -> int:
        """A port of 127.0.0.1 outside that is `port` in here."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._bridge(listener, lambda: self.connect(port, host))
        return int(listener.getsockname()[1])

    def _bridge(self, listener: socket.socket, connect: Connect) -> None:
        self._bridges.append(listener)
        threading.Thread(target=_carry_over, args=(listener, connect), daemon=True).start()

    def _inside(self, make: Callable[[], T]) -> T:
        """What `make` returns in a thread that is in this network: a socket belongs to where it was made."""

        def entered() -> T:
            with Path(self._file).open("rb") as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            return make()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(entered).result()


def _carry_over(listener: socket.socket, connect: Connect) -> None:
    while True:
        try:
            here, _ = listener.accept()
        except OSError:
            return
        try:
            there = connect()
        except OSError:
            here.close()
            continue
        there.settimeout(None)
        for one, other in ((here, there), (there, here)):
            threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)


def clean_root(folder: Path, *programs: Path) -> Path:
    """A folder to be the root of statically linked programs."""
    for name in ("tmp", "certs", "etc"):
        (folder / name).mkdir(parents=True)
    for program in programs:
        shutil.copy(program, folder / program.name)
    return folder
