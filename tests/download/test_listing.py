"""The listing over the transfer's engine: the ModelScope client's own, and asked of the client where the hub's answer
is no plain one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hub.process import HubProcess
from tests.download.conftest import MIB, MODEL, Setup

from qwen3_download.ask import TRUNCATED, Asker
from qwen3_download.hub import Hub

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]
TOKEN = "tk-Zq9-t0ken"
NAMES = ("README.md", "a b+c&d=e%41.json", "模型.txt", "1_Pooling/config.json", "a/b/c/d.txt", "#1?.json")


@pytest.fixture
def hub(setup: Setup, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A model with names that need escaping on a hub with TLS and a token."""
    setup.write(model=MIB)
    for name in NAMES:
        (setup.source / name).parent.mkdir(parents=True, exist_ok=True)
        (setup.source / name).write_text(name)
    serve("--token", TOKEN, tls=True)
    for name, value in setup.environment.items():
        monkeypatch.setenv(name, value)
    return Hub(MODEL, setup.url, TOKEN)


def the_client_was_asked(hub: Hub) -> bool:
    return "_client" in vars(hub)


def test_it_is_the_clients(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = hub.resolve("master")
    assert {file.path for file in plain.files} == {*NAMES, "config.json", "model.safetensors"}
    assert not the_client_was_asked(hub)
    monkeypatch.setattr(Asker, "entries", lambda self, url: None)
    assert hub.resolve("master") == plain
    assert the_client_was_asked(hub)


def test_so_are_the_addresses_of_files_and_where_a_listing_may_lack_some(hub: Hub) -> None:
    from modelscope_hub import HubApi
    from modelscope_hub.constants import REPO_FILES_TRUNCATION_LIMIT

    client = HubApi(endpoint=hub.endpoint, token=TOKEN).legacy
    for name in NAMES:
        for revision in ("master", "a+b/c"):
            assert hub.file_url(name, revision) == client.get_download_url(MODEL, "model", name, revision)
    assert TRUNCATED == REPO_FILES_TRUNCATION_LIMIT


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503},
        {"status": 403},
        {"status": 200, "body": "<html>hello</html>"},
        {"status": 200, "body": {"Success": True, "Data": []}},
        {"status": 200, "body": {"Success": True, "Data": {"Files": ["config.json"]}}},
        {"status": 302, "headers": {"Location": "/api/v1/models/x/y/repo/files"}},
        {"status": 200, "body": "x" * 33 * MIB},
        {"listing": {"unsuccessful": True}},
        {"listing": {"empty": True}},
    ],
)
def test_no_plain_answer_is_asked_for_again_by_the_client(hub: Hub, setup: Setup, fault: dict[str, Any]) -> None:
    assert setup.hub is not None
    setup.hub.fault(fault, on="listing", times=1)
    assert len(hub.resolve("master").files) == len(NAMES) + 2
    assert the_client_was_asked(hub)
