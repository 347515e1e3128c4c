"""Users of an endpoint: pooled connections, streams and whole answers. Counts what became of each request.

Run as a program (in a pod, beside vLLM's own libraries or none) it needs the standard library alone.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

QUESTION = {"role": "user", "content": "Count from 1 to 40."}
TIMEOUT = 120.0


@dataclass(frozen=True)
class Ask:
    """What every user asks for."""

    model: str = "Qwen3-8B"
    tokens: int = 100
    """Length of an answer."""
    pause: float = 0.0
    """Seconds between two requests of a user."""


@dataclass
class Tally:
    """What became of the requests of all users."""

    ok: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    served_at: float = 0.0
    longest_gap: float = 0.0
    """Longest time, in seconds, in which no request of anybody ended well."""
    connections: int = 0
    waits: list[float] = field(default_factory=list)
    """Seconds that each answer took, since they were last reported."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def good(self, seconds: float) -> None:
        """A request ended as it should, after so long."""
        with self.lock:
            now = time.monotonic()
            self.waits.append(seconds)
            if self.served_at:
                self.longest_gap = max(self.longest_gap, now - self.served_at)
            self.served_at, self.ok = now, self.ok + 1

    def bad(self, kind: str, words: str) -> None:
        """A request that its user lost."""
        with self.lock:
            self.failures[kind] += 1
            if len(self.examples) < 10:
                self.examples.append(f"{time.strftime('%H:%M:%S')} {kind}: {words[:300]}")

    def as_json(self) -> dict[str, Any]:
        """For the log."""
        return {
            "requests": self.ok + sum(self.failures.values()),
            "failed": dict(self.failures),
            "examples": self.examples,
            "longestGapSeconds": round(self.longest_gap, 1),
            "connections": self.connections,
        }

    def reported(self) -> dict[str, Any]:
        """For the log of a program: with the time, and what each answer since the last line took."""
        with self.lock:
            waits, self.waits = self.waits, []
        return self.as_json() | {"at": round(time.time(), 1), "seconds": [round(it, 3) for it in waits]}


class Cut(Exception):
    """A stream that ended before its end."""


class User(threading.Thread):
    """One user with one kept connection, as every pooled client has them."""

    def __init__(self, host: str, port: int, tally: Tally, stop: threading.Event, number: int, ask: Ask) -> None:
        super().__init__(daemon=True)
        self.host, self.port, self.tally, self.stop, self.ask = host, port, tally, stop, ask
        self.stream = number % 2 == 0
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Ask until the stop."""
        while not self.stop.is_set():
            try:
                self._ask()
            except Cut as error:
                self.tally.bad("cut", str(error))
                self._close()
            except (OSError, http.client.HTTPException) as error:
                self.tally.bad(type(error).__name__, repr(error))
                self._close()
                self.stop.wait(0.2)
            self.stop.wait(self.ask.pause)
        self._close()

    def _ask(self) -> None:
        began = time.monotonic()
        ask, wanted = self.ask, {"messages": [QUESTION], "temperature": 0, "stream": self.stream}
        response = self._send(json.dumps(wanted | {"model": ask.model, "max_tokens": ask.tokens}).encode())
        text = response.read()
        if response.status != 200:
            self.tally.bad(f"HTTP {response.status}", text[:200].decode("utf-8", "replace"))
            self.stop.wait(0.2)
        elif self.stream and not text.rstrip().endswith(b"data: [DONE]"):
            raise Cut(text[-200:].decode("utf-8", "replace"))
        elif b'"error"' in text:
            self.tally.bad("error in the answer", text[-200:].decode("utf-8", "replace"))
        else:
            self.tally.good(time.monotonic() - began)
        if response.will_close:
            self._close()

    def _send(self, body: bytes) -> http.client.HTTPResponse:
        """The response; a kept connection that its server closed before it was used is replaced, as pools do it."""
        kept = self.connection is not None
        if self.connection is not None and _is_closed(self.connection.sock):
            self._close()
            kept = False
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
            self.connection.connect()
            self.tally.connections += 1
        headers = {"content-type": "application/json"}
        self.connection.request("POST", "/v1/chat/completions", body, headers)
        try:
            return self.connection.getresponse()
        except http.client.RemoteDisconnected as error:
            raise http.client.RemoteDisconnected(f"{error} (kept connection: {kept})") from error

    def _close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _is_closed(sock: socket.socket) -> bool:
    """Whether the other side closed a connection that waits: what a pool checks before it takes one."""
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(TIMEOUT)


def use(host: str, port: int, users: int, ask: Ask = Ask()) -> tuple[Tally, threading.Event, list[User]]:
    """Begin with so many users."""
    tally, stop = Tally(), threading.Event()
    found = [User(host, port, tally, stop, number, ask) for number in range(users)]
    for user in found:
        user.start()
    return tally, stop, found


def main() -> None:
    """Use an endpoint until SIGTERM, or for some seconds; prints the tally each second, and at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--users", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--model", default=Ask.model)
    parser.add_argument("--tokens", type=int, default=Ask.tokens)
    parser.add_argument("--pause", type=float, default=Ask.pause)
    arguments = parser.parse_args()
    ask = Ask(arguments.model, arguments.tokens, arguments.pause)
    tally, stop, users = use(arguments.host, arguments.port, arguments.users, ask)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    until = time.monotonic() + arguments.seconds
    while not ended.wait(1) and time.monotonic() < until:
        print(json.dumps(tally.reported()), flush=True)
    stop.set()
    for user in users:
        user.join(TIMEOUT)
    print(json.dumps(tally.reported() | {"final": True}), flush=True)


if __name__ == "__main__":
    main()
