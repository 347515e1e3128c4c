"""Running shards of a batch as processes, as pods would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
FAKE = (sys.executable, str(Path(__file__).parent / "fake_vllm.py"))
RUNNER = [sys.executable, "-m", "qwen3_in_engine.batch_runner"]


def descendants(pid: int) -> list[int]:
    """Processes that `pid` started, and theirs."""
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    children = [int(word) for word in words.split()]
    return children + [it for child in children for it in descendants(child)]


def end_at_once(process: subprocess.Popen[str]) -> None:
    """As a container ends whose first process is killed: all that it started ends with it."""
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(10)


class Batch:
    """A configuration in a folder, and its shards."""

    def __init__(self, folder: Path, lines: list[Any] | bytes, **config: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.input, self.output = folder / "in.jsonl", folder / "out" / "answers.jsonl"
        content = lines if isinstance(lines, bytes) else "".join(_as_line(line) + "\n" for line in lines).encode()
        self.input.write_bytes(content)
        self.config: dict[str, Any] = {
            "namespace": "team",
            "name": "nightly",
            "fingerprint": "f",
            "input": str(self.input),
            "output": str(self.output),
            "engine": FAKE,
            "models": ["Qwen3-8B"],
        } | config

    @property
    def parts(self) -> Path:
        return self.output.parent / f".{self.output.name}.parts"

    def start(
        self,
        shard: int = 0,
        *,
        command: list[str] | None = None,
        env: dict[str, str] | None = None,
        words: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """Start a shard; its termination message goes to `message(shard)`."""
        config = self.folder / f"config-{shard}.json"
        config.write_text(json.dumps(self.config), encoding="utf-8")
        self.message_file(shard).write_text("", encoding="utf-8")
        environment = {
            **os.environ,
            "JOB_COMPLETION_INDEX": str(shard),
            "TERMINATION_LOG": str(self.message_file(shard)),
            "BATCH_METRICS_PORT": "0",
            "FAKE_START_LOG": str(self.folder / "starts"),
            **(env or {}),
        }
        words = [*(command or RUNNER), str(config), *words]
        log = (self.folder / f"log-{shard}").open("a", encoding="utf-8")
        return subprocess.Popen(words, env=environment, stdout=log, stderr=log, text=True)

    def run(self, shard: int = 0, **how: Any) -> int:
        """Run a shard to its end; its exit code."""
        return self.start(shard, **how).wait(900)

    def run_killed(self, kills: list[tuple[int, int]], *, shards: int, seconds: float, **how: Any) -> None:
        """Run all shards at once; SIGKILL a shard when its part has grown by so many bytes since its last start.

        `kills`: (shard, bytes), one after the other; each killed shard is started again. `seconds`: the most to wait.
        """
        running = {shard: self.start(shard, **how) for shard in range(shards)}
        grown = dict.fromkeys(range(shards), 0)
        for shard, more in kills:
            part, deadline = self.parts / f"shard-{shard:05}", time.monotonic() + seconds
            while not part.exists() or part.stat().st_size < grown[shard] + more:
                assert time.monotonic() < deadline and running[shard].poll() is None, self.log(shard)[-4000:]
                time.sleep(0.005)
            end_at_once(running[shard])
            assert not self.output.exists(), "the batch was over before it was killed"
            grown[shard] = part.stat().st_size
            running[shard] = self.start(shard, **how)
        assert [p.wait(seconds) for p in running.values()] == [0] * shards, self.log(0)[-4000:] + self.log(1)[-4000:]

    def message_file(self, shard: int) -> Path:
        return self.folder / f"message-{shard}"

    def message(self, shard: int = 0) -> dict[str, Any]:
        """The termination message."""
        message: dict[str, Any] = json.loads(self.message_file(shard).read_text(encoding="utf-8"))
        return message

    def log(self, shard: int = 0) -> str:
        return (self.folder / f"log-{shard}").read_text(encoding="utf-8", errors="replace")

    @property
    def starts(self) -> int:
        """How often an engine was started."""
        log = self.folder / "starts"
        return len(log.read_text(encoding="utf-8").split()) if log.exists() else 0

    def answers(self) -> list[dict[str, Any]]:
        """The lines of the output."""
        return [json.loads(line) for line in self.output.read_text(encoding="utf-8").splitlines()]


def _as_line(line: Any) -> str:
    return line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)


def content(answer: dict[str, Any]) -> str:
    """The text of an answer, of a chat or a completion."""
    choice = answer["response"]["body"]["choices"][0]
    text: str = choice["message"]["content"] if "message" in choice else choice["text"]
    return text
