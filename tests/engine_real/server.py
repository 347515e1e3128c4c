"""A real vLLM (its CPU build) with our middleware, mounted as from a ConfigMap."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devcluster.controlplane import free_ports
from images.vllm_bundle import bundle

from qwen3_in_engine.server.contract import STARTED_PATH, VARIABLE, Config
from qwen3_in_engine.verify.wanted import Verify
from qwen3_operator.desired.in_engine import MEASURING, PACKAGE
from qwen3_operator.desired.modules import modules

REPOSITORY = Path(__file__).parents[2]
CHECKPOINT = REPOSITORY / "tests" / "data" / "tiny-qwen3"
STARTUP_SECONDS = 240
NAME = "Qwen3-8B"
CONFIG = Config(
    settle_seconds=3,
    drain_seconds=30,
    stall_seconds=8,
    verify=Verify(
        names=(NAME,),
        max_model_len=2048,
        thinking="hybrid",
        reasoning_parser="qwen3",
        tool_call_parser="hermes",
        well_known=True,
    ),
)
ARGUMENTS = {"--reasoning-parser": "qwen3", "--tool-call-parser": "hermes"}


@dataclass(frozen=True)
class Server:
    """One that was started."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """All that it wrote."""
        return (self.folder / "vllm.log").read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a GET; status 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                return 0, repr(error)

    def wait(self) -> None:
        """Until it is verified. Raises AssertionError where it ends before."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while self.get(STARTED_PATH)[0] != 200:
            assert self.process.poll() is None, self.log[-3000:]
            assert time.monotonic() < deadline, self.log[-3000:]
            time.sleep(0.5)

    def engine(self) -> int:
        """pid of the engine's core."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.process.pid), "-f", "EngineCore"], capture_output=True, text=True
        )
        return int(found.stdout.split()[0])


@contextlib.contextmanager
def serving(
    folder: Path,
    config: Config = CONFIG,
    arguments: Mapping[str, str] = ARGUMENTS,
    variables: Mapping[str, str] | None = None,
    checkpoint: Path = CHECKPOINT,
    *,
    within: Sequence[str] = (),
    address: tuple[str, int] | None = None,
    reached_by: int = 0,
) -> Iterator[Server]:
    """A server that was begun, with `folder` for all that it writes. `arguments`: flags and their values, empty for a
    flag that has none. `variables`: more of its environment. `within`: words before its command, that have it listen at
    an `address` of another network, which is `reached_by` a port here."""
    for module in modules(PACKAGE, MEASURING).values():
        path = folder / "in-engine" / module.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(module.text, encoding="utf-8")
    # In vLLM's image there is no other: here a whole package of this name, installed, would go before a part of one.
    (folder / "in-engine" / "qwen3_in_engine" / "__init__.py").touch()
    host, port = address or ("127.0.0.1", free_ports(1)[0])
    environment = {
        **os.environ,
        "PYTHONPATH": f"{folder / 'in-engine'}:{bundle()}",
        VARIABLE: replace(config, folder=str(folder)).as_text(),
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "60",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
        **(variables or {}),
    }
    command = [
        *(*within, sys.executable, str(REPOSITORY / "images" / "vllm-cpu" / "vllm"), "serve", str(checkpoint)),
        *("--host", host, "--port", str(port), "--served-model-name", NAME, "--max-model-len", "2048"),
        *("--enforce-eager", "--kv-cache-memory-bytes", "64M", "--enable-auto-tool-choice", "--shutdown-timeout", "20"),
        *(word for pair in arguments.items() for word in pair if word),
        *("--middleware", f"{PACKAGE}.loader.Middleware"),
    ]
    with (
        (folder / "vllm.log").open("wb") as output,
        subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True) as process,
    ):
        try:
            yield Server(reached_by or port, folder, process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
