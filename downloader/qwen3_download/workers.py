"""Connections in processes of their own, which also hash what they receive.

libcurl calls Python for every TLS record of 16 KiB. In one process all connections wait for one interpreter lock, which
ends at some 0.9 GB/s however many cores there are.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from types import TracebackType

from qwen3_download import fetch
from qwen3_download.errors import Failure, Reason
from qwen3_download.fetch import Network
from qwen3_download.partial import PartialFile
from qwen3_download.verify import Digest, Stopped

_PROCESSES = 4
_HASHED_AT_ONCE = 8
"""Files of a process: those that it receives, and some that were there already or wait for the disk."""
_ENDED = "a process of this download was ended from outside (out of memory?); the next run continues"


class Shared:
    """Numbers that all processes see: bytes received by each connection, CPU ns of each process, the word to stop."""

    def __init__(self, connections: int, processes: int) -> None:
        cells = memoryview(mmap.mmap(-1, 8 * (1 + connections + processes))).cast("Q")
        self._stop, self.received, self.cpu = cells[:1], cells[1 : 1 + connections], cells[1 + connections :]

    def stop(self) -> None:
        self._stop[0] = 1

    def stopped(self) -> bool:
        return bool(self._stop[0])

    def moved(self) -> int:
        """Bytes of all connections."""
        return sum(self.received)


class RemoteConnection:
    """A connection as the process sees it that decides what to fetch; for one thread."""

    def __init__(self, number: int, process: int, pipe: Pipe, shared: Shared, files: Mapping[PartialFile, int]) -> None:
        self._number = number
        self.process = process
        self._pipe = pipe
        self._shared = shared
        self._files = files

    @property
    def received(self) -> int:
        """Bytes that were written."""
        return self._shared.received[self._number]

    def get(
        self, url: str, headers: Mapping[str, str], file: PartialFile, start: int, end: int, skip: bool = False
    ) -> str:
        """As fetch.Connection.get, for a file that is made. Raises Failure(Stopped) when the process is gone."""
        try:
            self._pipe.send((url, dict(headers), self._files[file], start, end, skip))
            answer: str | BaseException = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise Failure(Reason.STOPPED, _ENDED) from error
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Workers:
    """Processes for `connections` connections, from entering to leaving: one a core, and on few cores one for each of
    the first connections, since two in one process hand its lock to and fro. Enter before threads run.

    A bandwidth limit is kept by one process.
    """

    def __init__(self, connections: int, files: Sequence[PartialFile], network: Network) -> None:
        self._files = files
        self._network = network
        self._count = connections
        wanted = max(_PROCESSES, len(os.sched_getaffinity(0)))
        self.processes = 1 if network.take else max(1, min(connections, wanted))
        self._shared = Shared(connections, self.processes)
        self.connections: list[RemoteConnection] = []

    def __enter__(self) -> Workers:
        fork = multiprocessing.get_context("fork")
        self._numbers = {file: number for number, file in enumerate(self._files)}
        near: dict[int, Pipe] = {}
        self._hashers: list[Pipe] = []
        self._asking = threading.Lock()
        life, self._life = os.pipe()
        self._running = []
        for index in range(self.processes):
            pipes = {number: fork.Pipe() for number in range(index, self._count, self.processes)}
            hasher, far_hasher = fork.Pipe()
            far = {number: ends[1] for number, ends in pipes.items()}
            process = fork.Process(target=self._serve, args=(index, far, far_hasher, life), daemon=True)
            process.start()
            self._running.append(process)
            self._hashers.append(hasher)
            for number, ends in pipes.items():
                near[number] = ends[0]
            for end in (*far.values(), far_hasher):
                end.close()  # or the end of that process would not be seen here
        os.close(life)
        self.connections = [
            RemoteConnection(n, n % self.processes, near[n], self._shared, self._numbers) for n in range(self._count)
        ]
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None) -> None:
        self.stop()
        os.close(self._life)
        for process in self._running:
            process.join()

    def stop(self) -> None:
        """End every request within a second."""
        self._shared.stop()

    def hash(self, file: PartialFile, process: int) -> None:
        """Have a process hash the file while it arrives; `hashed` has the result. Not for one that is being hashed."""
        try:
            with self._asking:
                self._hashers[process].send(self._numbers[file])
        except OSError as error:
            raise Failure(Reason.STOPPED, _ENDED) from error

    def hashed(self) -> Iterator[tuple[PartialFile, str]]:
        """Files and their sha256 (64 hex digits; "" where the file has lost bytes), as they are complete and on the
        disk; ends when stopped. Raises Failure, also Failure(Stopped) when a process is gone."""
        while not self._shared.stopped():
            for pipe in wait(self._hashers, timeout=0.2):
                assert isinstance(pipe, Pipe)
                try:
                    number, answer = pipe.recv()
                except (EOFError, OSError) as error:
                    raise Failure(Reason.STOPPED, _ENDED) from error
                if isinstance(answer, BaseException):
                    raise answer
                yield self._files[number], answer

    @property
    def received(self) -> int:
        """Bytes received by all connections."""
        return self._shared.moved()

    @property
    def received_each(self) -> Sequence[int]:
        """The same for every connection."""
        return tuple(self._shared.received)

    @property
    def cpu_seconds(self) -> float:
        """Of all processes together."""
        return sum(self._shared.cpu) / 1e9

    def _serve(self, index: int, pipes: Mapping[int, Pipe], hasher: Pipe, life: int) -> None:
        """Be a process with these connections until the first process ends, in whatever way."""
        for ending in (signal.SIGTERM, signal.SIGINT):  # the first process decides
            signal.signal(ending, signal.SIG_IGN)
        os.close(self._life)
        digests: dict[int, Digest] = {}
        threading.Thread(target=self._hash_all, args=(hasher, digests), daemon=True).start()
        for number, pipe in pipes.items():
            threading.Thread(target=self._connect, args=(index, number, pipe, digests), daemon=True).start()
        os.read(life, 1)
        os._exit(0)

    def _hash_all(self, pipe: Pipe, digests: dict[int, Digest]) -> None:
        answering = threading.Lock()

        def finish(number: int, digest: Digest) -> None:
            answer: str | BaseException
            try:
                answer = digest.finish(self._shared.stopped)
            except Stopped:
                return
            except BaseException as error:
                answer = error
            del digests[number]
            with contextlib.suppress(OSError), answering:
                pipe.send((number, answer))

        with contextlib.suppress(EOFError, OSError):  # the first process is gone
            pool = ThreadPoolExecutor(_HASHED_AT_ONCE, "hash")
            while True:
                number = pipe.recv()
                digests[number] = Digest(self._files[number])
                pool.submit(finish, number, digests[number])

    def _connect(self, index: int, number: int, pipe: Pipe, digests: Mapping[int, Digest]) -> None:
        shared = self._shared

        def received(n: int) -> None:
            shared.received[number] += n
            shared.cpu[index] = time.process_time_ns()

        connection = fetch.Connection(self._network, received, shared.moved, shared.stopped)
        with contextlib.suppress(EOFError, OSError):  # the first process is gone, and this one is about to end
            while True:
                url, headers, file, start, end, skip = pipe.recv()

                def feed(offset: int, data: memoryview, file: int = file) -> None:
                    if digest := digests.get(file):
                        digest.feed(offset, data)

                try:
                    with self._files[file].writer(feed) as writer:
                        answer: str | BaseException = connection.get(url, headers, writer, start, end, skip)
                except BaseException as error:
                    answer = error
                pipe.send(answer)
