"""kubectl as the way to the cluster: its kubeconfig, its logins, its proxies."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qwen3_operator.plugin.failure import Failure

START_SECONDS = 30.0
"""A login may ask another server first."""
MOST_WORDS = 2000
"""Characters of what kubectl says that are passed on."""
_NO_CONTEXT = "current-context must exist"
_OF_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the flags that say which cluster, and as whom."""

    program: str
    flags: tuple[str, ...] = ()

    @classmethod
    def found(cls, flags: Sequence[str] = ()) -> Kubectl:
        """kubectl of the PATH. Raises Failure."""
        program = shutil.which("kubectl")
        if program is None:
            raise Failure("kubectl is not in the PATH: the cluster is reached through it")
        return cls(program, tuple(flags))

    def words(self, *words: str) -> list[str]:
        """The command line of `kubectl WORDS`."""
        return [self.program, *words, *self.flags]

    def namespace(self) -> str:
        """Namespace of the context. Raises Failure."""
        command = self.words("config", "view", "--minify", "--output=jsonpath={..namespace}")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"kubectl did not answer within {START_SECONDS:g} s") from error
        if done.returncode and _NO_CONTEXT in done.stderr:  # inside a pod there need not be one
            return _OF_POD.read_text().strip() if _OF_POD.is_file() else "default"
        if done.returncode:
            raise Failure(in_one_line(done.stderr))
        return done.stdout.strip() or "default"

    @contextlib.contextmanager
    def proxy(self) -> Iterator[Path]:
        """A Unix socket that leads to the API server, for this user alone, while the block lasts. Raises Failure."""
        with tempfile.TemporaryDirectory(prefix="qwen3-") as folder:  # it has mode 0700
            socket = Path(folder) / "api"
            command = self.words("proxy", f"--unix-socket={socket}")
            with running(command, own_group=False) as process:
                if not first_line(process, "Starting to serve"):
                    raise Failure(in_one_line(_error_of(process)))
                yield socket


@contextlib.contextmanager
def running(command: Sequence[str], *, own_group: bool) -> Iterator[subprocess.Popen[str]]:
    """The process as long as the block lasts. ``own_group``: a Ctrl-C in the terminal does not reach it."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if own_group else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0 if own_group else None,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            process.kill()


def first_line(process: subprocess.Popen[str], expected: str, seconds: float = START_SECONDS) -> str:
    """The first line on its standard output; empty where it ends, or says something else first, or nothing in time."""
    assert process.stdout is not None and process.stderr is not None
    alarm = threading.Timer(seconds, process.kill)
    alarm.start()
    try:
        line = process.stdout.readline(MOST_WORDS)
    finally:
        alarm.cancel()
    if not line.startswith(expected):
        return ""
    for stream in (process.stdout, process.stderr):  # a pipe that nobody reads would stop it when it is full
        threading.Thread(target=_drain, args=(stream,), daemon=True).start()
    return line


def _drain(stream: IO[str]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while stream.read(MOST_WORDS):
            pass


def _error_of(process: subprocess.Popen[str]) -> str:
    process.terminate()
    assert process.stderr is not None
    return process.stderr.read(MOST_WORDS)


def in_one_line(words: str) -> str:
    """What kubectl says, in one line and without its prefix."""
    text = " ".join(words[:MOST_WORDS].split()).removeprefix("error: ").removeprefix("Error: ")
    return f"kubectl: {text or 'it ended without a word'}"
