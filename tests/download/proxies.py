"""Forward proxies as companies have them: Debian's tinyproxy, and one that opens TLS and signs for each site itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devcluster import debian
from devcluster.controlplane import free_ports

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
Allow 127.0.0.1
LogFile "{log}"
LogLevel Connect
ConnectPort {behind}
BasicAuth {user} {password}
"""


@dataclass
class Proxy:
    """One that runs: its address for who has the password, and to whom it has connected."""

    port: int
    user: str
    password: str
    """As it stands in an address: what is special in it is escaped."""
    log: Path | None = None
    connected: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """With name and password."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How often somebody with the password was connected to a site."""
        return self.log.read_text(encoding="utf-8").count("Established connection") if self.log else len(self.connected)


@contextlib.contextmanager
def tinyproxy(folder: Path, behind: int, *, user: str, password: str) -> Iterator[Proxy]:
    """Debian's tinyproxy, which connects to the port `behind` alone."""
    (port,) = free_ports(1)
    log, config = folder / "tinyproxy.log", folder / "tinyproxy.conf"
    config.write_text(TINYPROXY.format(port=port, log=log, behind=behind, user=user, password=password))
    with subprocess.Popen([debian.program("tinyproxy-bin", "usr/bin/tinyproxy"), "-d", "-c", config]) as process:
        try:
            _wait(port, process)
            yield Proxy(port, user, password, log)
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert process.poll() is None, "tinyproxy has ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)
    raise AssertionError("tinyproxy does not listen")


@contextlib.contextmanager
def opening_tls(certificate: Path, sites: ssl.SSLContext, *, user: str, secret: str, escaped: str) -> Iterator[Proxy]:
    """A proxy that ends the clients' TLS with a `certificate` of its own and begins another one to the site.

    `sites`: whom it trusts. `secret`: the password; `escaped`: the same as it stands in an address.
    """
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(certificate)
    (port,) = free_ports(1)
    proxy = Proxy(port, user, escaped)
    credentials = "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            first, *headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            said = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in headers)}
            if said.get("proxy-authorization") != credentials:
                refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n"
                writer.write(refusal + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                return
            target = first.split()[1]
            host, _, number = target.partition(":")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            await writer.start_tls(ours)
            proxy.connected.append(target)
            there, back = await asyncio.open_connection(host, int(number), ssl=sites)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        writer.close()

    def run() -> None:
        asyncio.run(main())

    stopping, started = asyncio.Event(), threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        async with await asyncio.start_server(serve, "127.0.0.1", port):
            started.set()
            await stopping.wait()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield proxy
    finally:
        loops[0].call_soon_threadsafe(stopping.set)
        thread.join(10)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """What comes, until the end or the other side is away."""
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()
