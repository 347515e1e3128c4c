"""Token, proxies and certificates: stripped, checked in words of their own, and hidden wherever they turn up."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from qwen3_download import local
from qwen3_download.errors import Failure, Reason

HUB = "https://hub.example"
TOKEN = "s3cret-Zq9"


def refused(token: str = "", endpoint: str = HUB, *, allow: bool = False, **environment: str) -> Failure:
    with pytest.raises(Failure) as caught:
        local.check(token, endpoint, environment, allow_http_token=allow)
    assert caught.value.exit_code == 2
    return caught.value


def accept(token: str = "", endpoint: str = HUB, *, allow: bool = False, **environment: str) -> None:
    local.check(token, endpoint, environment, allow_http_token=allow)


@pytest.mark.parametrize("text", [f"{TOKEN}\n", f"  {TOKEN}\r\n", f"\ufeff{TOKEN}", TOKEN])
def test_a_token_is_stripped_and_leaves_the_environment(text: str) -> None:
    environment = {"MODELSCOPE_API_TOKEN": text, "HOME": "/"}
    assert local.take_token(environment) == TOKEN
    assert environment == {"HOME": "/"}
    accept(TOKEN)


def test_no_token_is_no_token() -> None:
    assert local.take_token({}) == local.take_token({"MODELSCOPE_API_TOKEN": ""}) == ""
    accept("", "http://hub.lan")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{TOKEN}\n{TOKEN}", "has a line break inside"),
        (f"{TOKEN} {TOKEN}", "has a space inside"),
        (f"{TOKEN}\x07{TOKEN}", "has a control character inside"),
        (f"{TOKEN}é", "is not ASCII"),
        (" \n ", "nothing but spaces or line breaks"),
    ],
)
def test_a_token_that_is_none_is_a_mistake_of_this_side(text: str, words: str) -> None:
    failure = refused(local.take_token({"MODELSCOPE_API_TOKEN": text}))
    assert failure.reason is Reason.INVALID_TOKEN
    assert words in str(failure) and TOKEN not in str(failure) and "hub" not in str(failure)


def test_a_token_goes_over_http_only_where_that_is_allowed() -> None:
    failure = refused(TOKEN, "http://hub.lan:8080")
    assert failure.reason is Reason.INSECURE_ENDPOINT
    assert "http://hub.lan:8080 is not encrypted" in str(failure)
    accept(TOKEN, "http://hub.lan:8080", allow=True)
    accept(TOKEN, "HTTPS://hub.lan")


@pytest.mark.parametrize("endpoint", ["https://hub.example:99999", "https://:80", "https://[::1"])
def test_an_endpoint_that_is_no_address_is_not_the_hubs_fault(endpoint: str) -> None:
    assert refused("", endpoint).reason is Reason.USAGE


def test_proxies_are_stripped() -> None:
    environment = {"HTTPS_PROXY": "http://me:pw@proxy:3128\n", "no_proxy": " .svc\n", "HTTP_PROXY": "\n", "HOME": " / "}
    local.strip_proxies(environment)
    assert environment == {"HTTPS_PROXY": "http://me:pw@proxy:3128", "no_proxy": ".svc", "HOME": " / "}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("value", ["http://me:hunter2/a@proxy:3128", "ftp://me:hunter2@proxy", "http://me:hunter2@"])
def test_a_proxy_that_cannot_be_read_is_named_without_its_password(name: str, value: str) -> None:
    environment: dict[str, Any] = {name: value}
    failure = refused(**environment)
    assert failure.reason is Reason.INVALID_PROXY
    assert name in str(failure) and "hunter2" not in str(failure)


@pytest.mark.parametrize("value", ["http://me:p%40ss@proxy:3128", "proxy:3128", "proxy", "socks5h://10.0.0.1:1080"])
def test_proxies_that_are_right(value: str) -> None:
    accept(HTTPS_PROXY=value)


def test_certificates_have_to_be_there(tmp_path: Path) -> None:
    missing, rubbish = tmp_path / "nowhere.pem", tmp_path / "ca.pem"
    rubbish.write_text("PEM")
    for path, words in ((missing, "is not there"), (rubbish, "holds no certificates")):
        failure = refused(REQUESTS_CA_BUNDLE=str(path))
        assert failure.reason is Reason.INVALID_CERTIFICATES
        assert words in str(failure) and str(path) in str(failure)
    accept(REQUESTS_CA_BUNDLE=str(tmp_path))


def test_a_mask_hides_every_form_of_a_secret() -> None:
    token = 'to"ken/+=\\x'
    mask = local.Mask.of(token, "https://me:hub%20pass@hub", {"HTTPS_PROXY": "http://you:hunter2@proxy:3128"})
    for shown in (
        token,
        json.dumps(token),
        repr(token),
        "https://h/?a=to%22ken%2F%2B%3D%5Cx",
        "you:hunter2",
        "hub pass",
    ):
        assert "***" in mask.text(shown)
        assert not {"ken", "hunter2", "pass"} & set(mask.text(shown).replace("/", " ").split())
    value = mask.value({"message": f"a {token} b", "list": [token, 5], "n": 1.5, token: None})
    assert value == {"message": "a *** b", "list": ["***", 5], "n": 1.5, "***": None}


def test_a_proxy_that_cannot_be_read_is_hidden_as_a_whole() -> None:
    value = "http://me:hunter2/a@proxy:3128"
    assert "hunter2" not in local.Mask.of("", HUB, {"http_proxy": value}).text(f"Failed to parse: {value}")


def test_without_secrets_nothing_is_changed() -> None:
    mask = local.Mask.of("", HUB, {})
    assert mask.text("https://hub.example 200") == "https://hub.example 200"
    assert local.Mask(["ab"]).text("about") == "about", "two letters are no secret"


def test_stderr_is_masked_for_everybody() -> None:
    written = io.StringIO()
    stream = local.MaskedStream(written, local.Mask([TOKEN]))
    print(f"Bearer {TOKEN}", file=stream)
    assert written.getvalue() == "Bearer ***\n"
    assert stream.getvalue() == "Bearer ***\n", "the rest is the stream's own"
