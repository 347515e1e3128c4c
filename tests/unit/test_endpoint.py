"""Where a token may be sent, in all three ways that a token comes in by."""

from __future__ import annotations

import pytest
from tests.unit.test_batch_plan import batch_spec

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.plan import Weights, make_plan
from qwen3_operator.plan.batch import as_server, make_batch_plan
from qwen3_operator.plan.endpoint import check_endpoint, sends_token_in_clear
from qwen3_operator.settings import Settings

ID, TOKEN = "Qwen/Qwen3-8B", {"name": "db", "key": "password"}
CLEAR = "http://203.0.113.9"


def settings(**fields: object) -> Settings:
    return Settings.model_validate({"identity": "test"} | fields)


def reasons(endpoint: str | None, token: dict[str, str] | None = TOKEN, **fields: object) -> list[str]:
    source = {"id": ID, "endpoint": endpoint, "tokenSecretRef": token}
    spec = Qwen3ModelSpec.model_validate({k: v for k, v in source.items() if v is not None})
    return [problem.reason for problem in check_endpoint(spec, settings(**fields))]


@pytest.mark.parametrize(
    "endpoint", ["https://hub.example", "https://hub.example:8443/base/path", "HTTPS://Hub.Example", None]
)
def test_every_https_hub_gets_a_token_where_none_is_listed(endpoint: str | None) -> None:
    assert reasons(endpoint) == []


@pytest.mark.parametrize("endpoint", [CLEAR, "http://hub.lan:8080/base", "HTTP://hub.lan"])
def test_no_token_goes_over_http(endpoint: str) -> None:
    assert reasons(endpoint) == ["InsecureEndpoint"]
    assert reasons(endpoint, None) == [], "without a token there is nothing to protect"
    assert reasons(endpoint, insecure_endpoints="*") == []


def test_the_operators_own_hub_is_no_exception() -> None:
    assert reasons(None, hub_endpoint="http://hub.lan") == ["InsecureEndpoint"]
    assert reasons(None, hub_endpoint="http://hub.lan", insecure_endpoints="hub.lan") == []


@pytest.mark.parametrize(
    ("entry", "endpoint", "allowed"),
    [
        ("hub.lan", "http://hub.lan/base", True),
        ("HUB.lan", "http://hub.lan./base", True),
        ("http://hub.lan", "http://hub.lan:80", True),
        ("hub.lan:8080", "http://hub.lan:8080", True),
        ("http://[fd00::1]:8080", "http://[FD00::1]:8080/", True),
        ("hub.lan", "http://hub.lan:8080", False),
        ("hub.lan:8080", "http://hub.lan", False),
        ("hub.lan", "http://hub.lan.evil.example", False),
        ("hub.lan", "http://evil.example/hub.lan", False),
        ("lan", "http://hub.lan", False),
    ],
)
def test_an_entry_names_one_origin(entry: str, endpoint: str, allowed: bool) -> None:
    assert (reasons(endpoint, insecure_endpoints=entry) == []) is allowed


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("https://hub.example", True),
        ("https://modelscope.cn/base", True),
        (None, True),
        ("https://hub.example:8443", False),
        ("https://evil.example", False),
        (CLEAR, False),
    ],
)
def test_listed_hubs_are_the_only_ones(endpoint: str | None, allowed: bool) -> None:
    found = reasons(endpoint, token_endpoints="modelscope.cn,https://hub.example", insecure_endpoints="*")
    assert found == ([] if allowed else ["EndpointNotAllowed"])


def test_a_listed_hub_is_not_allowed_in_clear_by_that() -> None:
    assert reasons("http://hub.lan", token_endpoints="hub.lan") == ["InsecureEndpoint"]
    assert reasons("http://hub.lan", token_endpoints="https://hub.lan", insecure_endpoints="*") == [
        "EndpointNotAllowed"
    ]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://hub.example@evil.example",
        "https://me:pass@hub.example",
        "https://evil.example\\@hub.example",
        "https://hub.example?x=y",
        "https://hub.example#a",
        "https://hub.example /",
        "ftp://hub.example",
    ],
)
def test_an_address_that_reads_in_two_ways_gets_no_token(endpoint: str) -> None:
    assert reasons(endpoint, token_endpoints="hub.example") == ["EndpointNotAllowed"]
    assert reasons(endpoint) == ["EndpointNotAllowed"]


def test_a_message_says_what_to_do() -> None:
    spec = Qwen3ModelSpec.model_validate({"id": ID, "endpoint": "http://hub.lan:8080/x", "tokenSecretRef": TOKEN})
    (problem,) = check_endpoint(spec, settings(), "spec.endpoint")
    assert problem.field == "spec.endpoint"
    assert "add http://hub.lan:8080 to the operator's setting insecureEndpoints" in problem.message
    (problem,) = check_endpoint(spec, settings(insecure_endpoints="*", token_endpoints="a.example"))
    assert problem.field == "spec.model.endpoint" and "a.example" in problem.message


def test_servers_and_batches_are_refused_alike() -> None:
    model = {"id": ID, "endpoint": CLEAR, "tokenSecretRef": TOKEN}
    server = Qwen3DeploymentSpec.model_validate({"model": model})
    plan = make_plan(Weights("w", "p"), server, settings())
    assert [(p.reason, p.field) for p in plan.problems] == [("InsecureEndpoint", "spec.model.endpoint")]
    batch = batch_spec(model=model)
    made = make_batch_plan("ns", "b", batch, as_server(batch, None), Weights("w", "p"), settings())
    assert [p.reason for p in made.engine.problems] == ["InsecureEndpoint"]
    assert not plan.servable and not made.engine.servable
    assert make_plan(Weights("w", "p"), server, settings(insecure_endpoints="203.0.113.9")).servable


def test_what_is_refused_is_not_sent_in_clear() -> None:
    spec = Qwen3ModelSpec.model_validate({"id": ID, "endpoint": CLEAR, "tokenSecretRef": TOKEN})
    assert sends_token_in_clear(spec, settings(insecure_endpoints="*"))
    assert not sends_token_in_clear(spec, settings())
    assert not sends_token_in_clear(spec, settings(insecure_endpoints="*", token_endpoints="a.example"))
