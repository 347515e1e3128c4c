"""A repository, a hub and the program, for tests of the download."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hub.process import HubProcess

MODEL = "Qwen/Qwen3-test"
CONFIG = {"architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 2, "num_key_value_heads": 2, "head_dim": 32}
MIB = 1024 * 1024
NETWORK_SETTING = re.compile(r"(?i)_proxy$|_CA_BUNDLE$|^SSL_CERT|^QWEN3_DOWNLOAD_|^MODELSCOPE_")


@dataclass
class Result:
    """How one run of the program ended."""

    code: int
    events: list[dict[str, Any]]
    report: dict[str, Any]
    errors: str

    def of(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e["event"] == name]


def weights(size: int, seed: str) -> bytes:
    """A safetensors file of just so many bytes, 10 or more; as many of them as fit are a random tensor."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, 10**12]}}).encode()
    tensor = max(0, size - 8 - len(header))
    described = {"a": {"dtype": "U8", "shape": [tensor], "data_offsets": [0, tensor]}} if tensor else {}
    header = json.dumps(described).encode().ljust(size - 8 - tensor)
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(tensor)


@dataclass
class Setup:
    """A hub's root with one model in it, a target, and the program to bring one to the other."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    hub: HubProcess | None = None
    logs: dict[int, Path] = field(default_factory=dict)
    """The termination log of each process, by its number: as of containers, each has its own."""

    @property
    def source(self) -> Path:
        return self.folder / "root" / MODEL

    @property
    def target(self) -> Path:
        return self.folder / "volume" / "model"

    @property
    def url(self) -> str:
        assert self.hub
        return self.hub.url

    def write(self, **sizes: int) -> None:
        """Files of random weights, a_b=N for `a-b.safetensors` of N bytes, beside a config.json."""
        self.source.mkdir(parents=True, exist_ok=True)
        (self.source / "config.json").write_text(json.dumps(CONFIG))
        for name, size in sizes.items():
            path = self.source / f"{name.replace('_', '-')}.safetensors"
            path.write_bytes(weights(size, f"{name} {size}"))

    def command(self, *options: str) -> list[str]:
        command = [sys.executable, "-m", "qwen3_download", "--model", MODEL, "--endpoint", self.url, "--json"]
        log = str(self.folder / "termination-log")
        return [*command, "--target", str(self.target), "--termination-log", log, *options]

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Start the program; end it with `finish`."""
        log = self.folder / f"termination-log-{len(self.logs)}"
        env = {k: v for k, v in os.environ.items() if not NETWORK_SETTING.search(k)}
        process = subprocess.Popen(
            self.command("--termination-log", str(log), *options),
            env=env | self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.logs[process.pid] = log
        return process

    def finish(self, process: subprocess.Popen[str], timeout: float = 400) -> Result:
        try:
            out, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, errors = process.communicate()
            raise AssertionError(f"still running after {timeout} s:\n{out}\n{errors}") from None
        log = self.logs[process.pid]
        report = json.loads(log.read_bytes()) if log.exists() else {}
        return Result(process.returncode, [json.loads(line) for line in out.splitlines()], report, errors)

    def run(self, *options: str, timeout: float = 400, **environment: str) -> Result:
        return self.finish(self.start(*options, **environment), timeout)

    def assert_complete(self, *without: str) -> None:
        """The target holds the source's very bytes and a marker; nothing else is left on the volume."""
        expected = {p.relative_to(self.source) for p in self.source.rglob("*") if p.is_file()} - set(map(Path, without))
        found = {p.relative_to(self.target) for p in self.target.rglob("*") if p.is_file()}
        assert found == expected | {Path(".complete.json")}
        for path in expected:
            assert (self.target / path).read_bytes() == (self.source / path).read_bytes(), path
        assert [p.name for p in self.target.parent.iterdir()] == [self.target.name]

    def assert_untouched(self) -> None:
        assert not self.target.exists()


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    (tmp_path / "volume").mkdir()
    return Setup(tmp_path)


@pytest.fixture
def serve(setup: Setup) -> Iterator[Callable[..., HubProcess]]:
    """`serve(*options)` starts the hub for what `setup.write` wrote."""
    with ExitStack() as stack:

        def start(*options: str, tls: bool = False) -> HubProcess:
            setup.hub = stack.enter_context(
                HubProcess(setup.folder / "root", *options, tls_folder=setup.folder if tls else None)
            )
            if setup.hub.ca:
                setup.environment["REQUESTS_CA_BUNDLE"] = str(setup.hub.ca)
            return setup.hub

        yield start
