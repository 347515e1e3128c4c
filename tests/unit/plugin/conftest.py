"""The commands against an API server of recorded objects."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.plugin.api_server import ApiServer, serve
from tests.unit.plugin.recorded import NAMESPACE

from qwen3_operator.plugin import __main__ as program
from qwen3_operator.plugin.api import Api

Shell = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cluster() -> ApiServer:
    """What the API server has: add to it."""
    return ApiServer()


@pytest.fixture
def api(cluster: ApiServer) -> Iterator[Api]:
    """A connection to it."""
    with tempfile.TemporaryDirectory() as folder:  # the path of a socket has to be short
        it = serve(cluster, Path(folder) / "api")
        yield Api(Path(folder) / "api")
        it.shutdown()
        it.server_close()


@pytest.fixture
def shell(api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run `kubectl qwen3 WORDS`: exit code, standard output, errors."""

    @contextlib.contextmanager
    def connection(arguments: argparse.Namespace) -> Iterator[tuple[Api, str]]:
        yield api, arguments.namespace or NAMESPACE

    monkeypatch.setattr("qwen3_operator.plugin.connection.connection", connection)

    def run(*words: str) -> tuple[int, str, str]:
        code = program.main(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
