"""Moves the missing bytes: connections take pieces, retry from the exact byte, and are as many as it pays."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from qwen3_download.adapt import Adapt
from qwen3_download.answer import FetchError, Kind
from qwen3_download.errors import Failure, Reason
from qwen3_download.partial import PartialFile
from qwen3_download.patience import STRIKES, Patience
from qwen3_download.pieces import AT_ONCE, Piece, Pieces
from qwen3_download.workers import RemoteConnection, Workers

_TICK = 0.1
_RANGE_STRIKES = 2
_HASH_TRIES = 3


@dataclass(frozen=True)
class Source:
    """Where the bytes are. `url` gives the hub's address of a path; `headers` go to the hub only."""

    where: str
    url: Callable[[str], str]
    headers: Mapping[str, str]


class Transfer:
    """Fetch and verify `files`; `run()` returns when every one is right."""

    def __init__(
        self,
        files: Sequence[PartialFile],
        source: Source,
        workers: Workers,
        give_up_after: float,
        stopped: threading.Event,
        accept: Callable[[str, Path], None] = lambda path, data: None,
    ) -> None:
        """`accept` is given each verified file, and raises Failure where it makes the rest useless."""
        self._accept = accept
        self._files = files
        self._source = source
        self._workers = workers
        self._stopped = stopped
        self._abort = threading.Event()
        self._pieces = Pieces(files)
        self._adapt = Adapt(len(workers.connections))
        self._patience = Patience(give_up_after, source.where)
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._resolved: dict[str, str] = {}  # path -> address behind the hub's redirect
        self._failure: BaseException | None = None
        self._present = deque(file for file in files if not file.missing())  # only to be hashed
        self._reading: set[PartialFile] = set()  # of these
        self._wrong: dict[PartialFile, list[str]] = {}
        self._verified: set[PartialFile] = set()
        self._range_strikes: dict[PartialFile, int] = {}

    @property
    def verified(self) -> int:
        """Files that are complete and right."""
        return len(self._verified)

    @property
    def received(self) -> int:
        """Bytes received by this run."""
        return self._workers.received

    def run(self) -> None:
        """Raises Failure."""
        verifier = threading.Thread(target=self._verify, name="verify", daemon=True)
        try:
            verifier.start()
            for _ in range(AT_ONCE):
                self._read_next()
            self._supervise()
        except BaseException as failure:
            self._fail(failure)
        finally:
            self._end()
            for thread in (*self._threads, verifier):
                thread.join()
        if self._failure:
            raise self._failure
        if len(self._verified) < len(self._files):
            raise Failure(Reason.STOPPED, "stopped; the next run continues at the byte")

    def _supervise(self) -> None:
        paused_at, cores = time.monotonic(), len(os.sched_getaffinity(0))
        while len(self._verified) < len(self._files) and not self._failure and not self._stopped.is_set():
            now = time.monotonic()
            if now - paused_at > 10 * _TICK + 5 or not self._pieces.busy():
                self._patience.pause()
            paused_at = now
            received = self._workers.received_each
            self._patience.watch(sum(received))
            self._adapt.tick(now, received, time.process_time() + self._workers.cpu_seconds, cores)
            while len(self._threads) < self._adapt.connections and self._pieces.remaining():
                self._start_worker()
            with self._changed:
                self._changed.notify_all()
                self._changed.wait(_TICK)

    def _start_worker(self) -> None:
        number = len(self._threads)
        arguments = (number, self._workers.connections[number])
        thread = threading.Thread(target=self._work, args=arguments, name=f"fetch-{number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, number: int, connection: RemoteConnection) -> None:
        try:
            while not self._abort.is_set():
                piece = None
                if number < self._adapt.connections:
                    piece = self._pieces.take(self._adapt.connections, self._adapt.rate_each, connection.process)
                if piece is None:
                    with self._changed:
                        if not self._abort.is_set():  # or the last call would be missed
                            self._changed.wait(1.0)
                    continue
                if piece.file.make():
                    self._workers.hash(piece.file, piece.home)
                self._fetch(connection, piece)
                self._pieces.done(piece)
        except BaseException as failure:
            self._fail(failure)

    def _fetch(self, connection: RemoteConnection, piece: Piece) -> None:
        """All bytes of the piece, over as many requests as it takes."""
        file, path = piece.file, piece.file.remote.path
        start, whole, attempt = piece.start, piece.whole, 0
        strikes: Counter[tuple[Kind, int]] = Counter()  # since a byte has arrived
        while not self._abort.is_set():
            url = known = self._resolved.get(path)
            headers: Mapping[str, str] = {}
            if url is None:
                url, headers = self._source.url(path), self._source.headers
            before = connection.received
            try:
                found = connection.get(url, headers, file, start, piece.end, skip=whole)
                if found != url:
                    self._resolved[path] = found
                return
            except FetchError as error:
                if error.kind is Kind.STOPPED:
                    return
                progressed = connection.received - before
                start += progressed
                attempt = 1 if progressed else attempt + 1
                if progressed:
                    strikes.clear()
                strikes[error.kind, error.status] += 1
                if known and self._resolved.get(path) == known:  # and no other connection has a new one already
                    del self._resolved[path]
                if known and error.kind is Kind.STATUS and error.status in (400, 401, 403, 404, 410):
                    continue  # a signed address that has expired: ask the hub for a new one
                if error.kind is Kind.WRONG_FILE and strikes[error.kind, error.status] >= STRIKES and not whole:
                    self._pieces.ignores_ranges(file)  # a proxy may spoil them: once more, without
                    whole = True
                    strikes.clear()
                    continue
                if error.kind is Kind.RANGE_IGNORED:
                    self._range_strikes[file] = self._range_strikes.get(file, 0) + 1
                    if self._range_strikes[file] >= _RANGE_STRIKES:
                        self._pieces.ignores_ranges(file)
                        whole = True
                same = strikes[error.kind, error.status]
                by_hub = not known and is_same_host(error.address or url, self._source.where)
                self._abort.wait(self._patience.delay(error, path, attempt, same, by_hub=by_hub))

    def _verify(self) -> None:
        """Hear of every file that is complete; have those that are wrong fetched again."""
        try:
            for file, found in self._workers.hashed():
                if self._is_right(file, found):
                    self._accept(file.remote.path, file.data)
                    self._verified.add(file)
                else:
                    file.reset()
                    self._workers.hash(file, self._pieces.home(file))
                    self._pieces.add(file)
                if file in self._reading:
                    self._reading.discard(file)
                    self._read_next()
                with self._changed:
                    self._changed.notify_all()
                if len(self._verified) == len(self._files):
                    return
        except BaseException as failure:
            self._fail(failure)

    def _read_next(self) -> None:
        """Hash another file that was here before: a few at a time, or a disk does nothing but seek."""
        with contextlib.suppress(IndexError):
            file = self._present.popleft()
            self._reading.add(file)
            file.make()
            self._workers.hash(file, len(self._present) % self._workers.processes)

    def _is_right(self, file: PartialFile, found: str) -> bool:
        """Compare with the listing. Raises Failure(IntegrityError) when another try would not help."""
        if found == file.remote.sha256:
            return True
        inherited = file.inherited > 0
        wrong = self._wrong.setdefault(file, [])
        if not inherited:
            wrong.append(found)
        if len(wrong) == _HASH_TRIES - 1:
            self._pieces.ignores_ranges(file)  # a proxy may spoil them: the last time without
        if len(wrong) >= _HASH_TRIES:
            path, listed = file.remote.path, file.remote.sha256
            text = f"{path} on {self._source.where} has sha256 {found}, its listing says {listed}"
            raise Failure(Reason.INTEGRITY, text)
        return False

    def _fail(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._end()

    def _end(self) -> None:
        self._abort.set()
        self._workers.stop()
        with self._changed:
            self._changed.notify_all()


def is_same_host(one: str, other: str) -> bool:
    """Of two addresses."""
    return urlsplit(one).netloc.rpartition("@")[2] == urlsplit(other).netloc.rpartition("@")[2]
