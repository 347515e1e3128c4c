"""The token of the real program, through success and every kind of refusal: sent where it may be, shown nowhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub.process import HubProcess
from tests.download.conftest import MIB, Result, Setup

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]
TOKEN = "tk-Zq9+s3cret/w0rd=="
OTHER = "tk-0ther-s3cret"
PASSWORD = "hunter2-Zq9"
QUICK = ("--give-up-after", "1")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[HubProcess]:
    """A second hub, to which the first one redirects."""
    (tmp_path / "empty").mkdir()
    with HubProcess(tmp_path / "empty") as it:
        yield it


def run(setup: Setup, *options: str, token: str = TOKEN, **environment: Any) -> Result:
    """Run it; nothing of a secret is in its output, its report or its termination message."""
    result = setup.run(*options, MODELSCOPE_API_TOKEN=token, **environment)
    *_, log = setup.logs.values()
    written = [json.dumps(result.events), result.errors, log.read_text()]
    for text in written:
        for secret in (TOKEN, OTHER, PASSWORD, *token.split(), "s3cret"):
            assert secret not in text, text
    assert result.report, "every end has its report"
    return result


def test_a_token_with_a_line_break_is_the_token(setup: Setup, serve: Serve) -> None:
    """A Secret made from a file ends in one."""
    setup.write(model=MIB)
    hub = serve("--token", TOKEN, tls=True)
    assert run(setup, token=f"{TOKEN}\n").code == 0
    setup.assert_complete()
    assert {e["authorization"] for e in hub.log()} == {True}


@pytest.mark.parametrize("token", [f"{TOKEN}\n{OTHER}", f"{TOKEN} {OTHER}", f"{TOKEN}\t{OTHER}"])
def test_a_token_that_is_none_is_refused_before_the_hub_is_asked(setup: Setup, serve: Serve, token: str) -> None:
    setup.write(model=MIB)
    hub = serve("--token", TOKEN, tls=True)
    for mode in ((), ("--list",)):
        result = run(setup, *mode, token=token)
        assert (result.code, result.report["reason"]) == (2, "InvalidToken")
        assert "the token in MODELSCOPE_API_TOKEN has a" in result.report["message"]
    assert hub.log() == []
    setup.assert_untouched()


def test_success_as_text_and_as_json(setup: Setup, serve: Serve) -> None:
    setup.write(model=2 * MIB)
    serve("--token", TOKEN, tls=True)
    assert run(setup).code == 0
    assert run(setup, "--verify").code == 0
    assert run(setup, "--list").code == 0


def test_a_hub_that_repeats_the_token_in_its_refusal(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    hub = serve(tls=True)
    said = {"Code": 401, "Message": f"token {TOKEN} has expired", "Success": False}
    hub.fault({"status": 401, "body": said}, on="listing")
    result = run(setup)
    assert (result.code, result.report["reason"]) == (11, "Unauthorized")
    assert "token ***" in result.report["message"] or "expired" not in result.report["message"]
    hub.clear_faults()
    hub.fault({"status": 403, "body": f"<p>{TOKEN}</p>"}, on="file")
    assert run(setup).code == 11


@pytest.mark.parametrize("status", [400, 404, 500])
def test_other_answers_that_repeat_it(setup: Setup, serve: Serve, status: int) -> None:
    setup.write(model=MIB)
    hub = serve(tls=True)
    hub.fault({"status": status, "body": {"Code": status, "Message": f"Bearer {TOKEN}", "Success": False}})
    assert run(setup, *QUICK).code in (10, 30)


def test_a_redirect_that_carries_it(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    hub = serve(tls=True)
    away = {"status": 302, "headers": {"Location": f"https://127.0.0.1:9/?token={TOKEN}"}}
    hub.fault(away, on="listing")
    assert run(setup, *QUICK).code == 30
    hub.clear_faults()
    hub.fault(away, on="file")
    assert run(setup, *QUICK).code == 30


def test_no_redirect_takes_it_to_plain_http(setup: Setup, serve: Serve, other: HubProcess) -> None:
    """The client keeps the token as a cookie of the host too, and would send it to the host's http:// as well."""
    setup.write(model=MIB)
    hub = serve("--token", TOKEN, tls=True)
    hub.fault({"status": 302, "headers": {"Location": f"{other.url}/api/v1/models/x/y/repo/files"}}, on="listing")
    result = run(setup, *QUICK)
    assert (result.code, result.report["reason"]) == (2, "InsecureEndpoint")
    assert other.log() == [] and other.url in result.report["message"]


def test_no_token_goes_to_an_http_endpoint(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    hub = serve("--token", TOKEN)
    for mode in ((), ("--list",)):
        result = run(setup, *mode)
        assert (result.code, result.report["reason"]) == (2, "InsecureEndpoint")
    assert hub.log() == []
    assert run(setup, "--allow-http-token").code == 0
    assert run(setup, QWEN3_DOWNLOAD_ENDPOINT=hub.url).code == 0, "what is complete needs no hub"


def test_what_only_removes_needs_no_token(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    serve(tls=True)
    assert run(setup).code == 0
    assert run(setup, "--remove", token=f"{TOKEN}\n{OTHER}").code == 0
    setup.assert_untouched()


PROXY = f"http://me:{PASSWORD}@127.0.0.1:9"


@pytest.mark.parametrize("tls", [True, False])
def test_a_proxy_that_is_away_is_not_the_hubs_fault(setup: Setup, serve: Serve, tls: bool) -> None:
    setup.write(model=MIB)
    serve(tls=tls)
    result = run(setup, *QUICK, "--allow-http-token", HTTP_PROXY=PROXY, HTTPS_PROXY=f"{PROXY}\n")
    assert (result.code, result.report["reason"]) == (30, "ProxyUnavailable")
    assert "proxy" in result.report["message"]


def test_a_proxy_that_wants_another_password(setup: Setup, serve: Serve, other: HubProcess) -> None:
    setup.write(model=MIB)
    serve()
    other.fault({"status": 407, "body": f"{PASSWORD} is wrong"})
    proxy = other.url.replace("http://", f"http://me:{PASSWORD}@")
    result = run(setup, *QUICK, "--allow-http-token", HTTP_PROXY=proxy)
    assert (result.code, result.report["reason"]) == (30, "ProxyUnavailable")


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("HTTPS_PROXY", f"http://me:{PASSWORD}/x@proxy:3128", "InvalidProxy"),
        ("HTTPS_PROXY", f"http://me:{PASSWORD} x@proxy:3128", "InvalidProxy"),
        ("REQUESTS_CA_BUNDLE", "/nowhere/ca.crt", "InvalidCertificates"),
    ],
)
def test_mistakes_of_this_side_are_reported_as_such(
    setup: Setup, serve: Serve, variable: str, value: str, reason: str
) -> None:
    setup.write(model=MIB)
    hub = serve(tls=True)
    result = run(setup, *QUICK, **{variable: value})
    assert (result.code, result.report["reason"]) == (2, reason)
    assert variable in result.report["message"] and hub.log() == []


def test_a_log_in_of_this_machine_does_not_stand_in_for_it(setup: Setup, serve: Serve) -> None:
    """The client reads the variable by itself where it is given no token."""
    setup.write(model=MIB)
    hub = serve(tls=True)
    assert run(setup, token="").code == 0
    assert {e["authorization"] for e in hub.log()} == {False}


def test_an_error_of_python_shows_nothing(setup: Setup, serve: Serve, tmp_path: Path) -> None:
    """Even a traceback with the token in its message."""
    setup.write(model=MIB)
    serve(tls=True)
    (tmp_path / "sitecustomize.py").write_text(
        "import qwen3_download.cli as cli\n"
        "def broken(args, options, *_):\n    raise RuntimeError('Bearer ' + options.token)\n"
        "cli._run = broken\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment: dict[str, Any] = {"PYTHONPATH": path, "MODELSCOPE_API_TOKEN": TOKEN}
    result = setup.run(**environment)
    assert result.code == 1 and "RuntimeError: Bearer ***" in result.errors and TOKEN not in result.errors
    assert result.report["reason"] == "DownloadFailed" and "RuntimeError: Bearer ***" in result.report["message"]
