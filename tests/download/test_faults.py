"""Faults of the network and the hub: the download ends as if there had been none, or fails in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hub.process import HubProcess
from tests.download.conftest import CONFIG, MIB, MODEL, Setup

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]
ONE_STREAM = ("--max-workers", "1")


def sent(hub: HubProcess, path: str = "model.safetensors") -> int:
    return sum(e["sent"] for e in hub.log("file") if e["path"] == path)


def ranges(hub: HubProcess, path: str = "model.safetensors") -> list[str]:
    return [e["range"] for e in hub.log("file") if e["path"] == path]


# connections that break


def test_reset_is_resumed(setup: Setup, serve: Serve) -> None:
    setup.write(model=20 * MIB)
    serve().fault({"dropAt": 8_000_000, "reset": True}, on="file", path="model*", times=1)
    assert setup.run(*ONE_STREAM).code == 0
    setup.assert_complete()


def test_close_is_resumed_at_the_byte(setup: Setup, serve: Serve) -> None:
    setup.write(model=20 * MIB)
    hub = serve()
    for at in (5_000_001, 10_000_002, 15_000_003):
        hub.fault({"dropAt": at}, on="file", path="model*", times=1)
    assert setup.run(*ONE_STREAM).code == 0
    setup.assert_complete()
    starts = [int(r.removeprefix("bytes=").split("-")[0]) for r in ranges(hub)]
    assert {5_000_001, 10_000_002, 15_000_003} <= set(starts)
    assert sent(hub) == 20 * MIB, "no byte is fetched twice"


def test_drops_without_end_do_not_exhaust_the_retries(setup: Setup, serve: Serve) -> None:
    setup.write(model=24 * MIB)
    hub = serve()
    hub.fault({"dropEvery": MIB}, on="file", path="model*")
    assert setup.run(*ONE_STREAM).code == 0
    setup.assert_complete()
    assert len(ranges(hub)) >= 24 and sent(hub) == 24 * MIB


def test_stall_is_left_at_the_byte(setup: Setup, serve: Serve) -> None:
    setup.write(model=12 * MIB)
    hub = serve()
    hub.fault({"stallAt": 7_654_321, "seconds": 900}, on="file", path="model*", times=1)
    result = setup.run(*ONE_STREAM, "--stall-timeout", "2")
    assert result.code == 0
    setup.assert_complete()
    assert "bytes=7654321-12582911" in ranges(hub) and sent(hub) == 12 * MIB


def test_slow_loris_is_left(setup: Setup, serve: Serve) -> None:
    setup.write(model=12 * MIB)
    hub = serve()
    hub.fault({"trickle": 100}, on="file", path="model*", times=1)
    result = setup.run(*ONE_STREAM, "--stall-timeout", "2")
    assert result.code == 0
    setup.assert_complete()


def test_slow_loris_for_ever_is_given_up(setup: Setup, serve: Serve) -> None:
    setup.write(model=12 * MIB)
    serve().fault({"trickle": 100}, on="file", path="model*")
    result = setup.run("--stall-timeout", "2", "--give-up-after", "6")
    assert (result.code, result.report["reason"]) == (30, "HubUnavailable")
    assert "no progress for 6 s" in result.report["message"]
    setup.assert_untouched()


# hubs that refuse


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_refusals_that_pass(setup: Setup, serve: Serve, status: int) -> None:
    setup.write(model=6 * MIB)
    serve().fault({"status": status, "headers": {"Retry-After": "1"}}, on="file", times=4)
    assert setup.run().code == 0
    setup.assert_complete()


def test_refusals_that_stay(setup: Setup, serve: Serve) -> None:
    setup.write(model=6 * MIB)
    serve().fault({"status": 503}, on="file", path="model*")
    result = setup.run("--give-up-after", "4")
    assert (result.code, result.report["reason"]) == (30, "HubUnavailable")
    assert "HTTP 503" in result.report["message"]


def test_one_forbidden_file(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=MIB, model_2=MIB)
    serve().fault({"status": 403}, on="file", path="model-2*")
    result = setup.run()
    assert (result.code, result.report["reason"]) == (11, "Unauthorized")
    assert "model-2.safetensors" in result.report["message"]
    setup.assert_untouched()


def test_listed_but_not_there(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    serve().fault({"status": 404}, on="file", path="model*")
    result = setup.run()
    assert (result.code, result.report["reason"]) == (20, "InvalidRepository")
    assert "model.safetensors is listed but not there" in result.report["message"]


def test_signed_address_that_expires(setup: Setup, serve: Serve) -> None:
    setup.write(model=60 * MIB)
    hub = serve("--redirect")
    hub.fault({"status": 403, "body": "<Error>expired</Error>"}, on="file", path="model*", times=2, skip=2)
    assert setup.run(*ONE_STREAM).code == 0
    setup.assert_complete()
    assert hub.struck() == [2]


def test_a_burst_of_refusals_by_the_host_of_the_bytes(setup: Setup, serve: Serve) -> None:
    """Eight connections meet the same expired address, and a CDN that does not like so many."""
    setup.write(model=60 * MIB)
    hub = serve("--redirect", "--connection-rate", str(16 * MIB))
    hub.fault({"status": 403, "body": "<Error>expired</Error>"}, on="file", path="model*", times=14, skip=4)
    assert setup.run("--max-workers", "8").code == 0
    setup.assert_complete()
    assert hub.struck() == [14]


def test_refusals_of_one_path_are_counted_in_a_row(setup: Setup, serve: Serve) -> None:
    """Now and then over hours is no no."""
    setup.write(model=24 * MIB)
    hub = serve()
    hub.fault({"dropEvery": MIB}, on="file", path="model*", probability=0.8)
    hub.fault({"status": 403}, on="file", path="model*", times=6)
    assert setup.run(*ONE_STREAM).code == 0
    assert hub.struck()[1] > 3


def test_the_host_of_the_bytes_refuses_for_ever(setup: Setup, serve: Serve) -> None:
    """Whose fault it is nobody knows, but it is not the token's."""
    setup.write(model=MIB)
    serve("--redirect").fault({"status": 403, "body": "<Error>denied</Error>"}, on="file", path="model*")
    result = setup.run("--give-up-after", "4")
    assert (result.code, result.report["reason"]) == (30, "HubUnavailable")
    assert "HTTP 403 <Error>denied" in result.report["message"]


def test_redirect_loop(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    serve().fault({"redirectLoop": True}, on="file", path="model*")
    result = setup.run("--give-up-after", "3")
    assert (result.code, result.report["reason"]) == (30, "HubUnavailable")
    assert "redirected more than 10 times" in result.report["message"]


@pytest.mark.parametrize("location", ["http://127.0.0.1:99999999/", "http://[x/", ""])
def test_redirect_to_no_address(setup: Setup, serve: Serve, location: str) -> None:
    setup.write(model=MIB)
    serve().fault({"status": 302, "headers": {"Location": location}}, on="file", path="model*")
    result = setup.run("--give-up-after", "3")
    assert (result.code, result.report["reason"]) == (30, "HubUnavailable"), result.errors


# wrong bytes


def test_range_ignored_once(setup: Setup, serve: Serve) -> None:
    setup.write(model=20 * MIB)
    hub = serve()
    hub.fault({"dropAt": 8_000_000}, on="file", path="model*", times=1)
    hub.fault({"ignoreRange": True}, on="file", path="model*", times=1)
    assert setup.run(*ONE_STREAM).code == 0
    setup.assert_complete()


def test_range_ignored_always(setup: Setup, serve: Serve) -> None:
    setup.write(model=40 * MIB)
    hub = serve()
    hub.fault({"dropAt": 30_000_000}, on="file", path="model*", times=1, skip=4)
    hub.fault({"ignoreRange": True}, on="file", path="model*")
    assert setup.run().code == 0
    setup.assert_complete()


def test_flipped_byte_is_fetched_again(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=4 * MIB, model_2=6 * MIB)
    hub = serve()
    hub.fault({"flipAt": 3_000_000}, on="file", path="model-1*", times=1)
    assert setup.run().code == 0
    setup.assert_complete()
    assert sent(hub, "model-1.safetensors") == 8 * MIB
    assert sent(hub, "model-2.safetensors") == 6 * MIB


def test_flipped_byte_always(setup: Setup, serve: Serve) -> None:
    setup.write(model=6 * MIB)
    serve().fault({"flipAt": 3_000_000}, on="file", path="model*")
    result = setup.run()
    assert (result.code, result.report["reason"]) == (13, "IntegrityError")
    assert "model.safetensors" in result.report["message"] and "sha256" in result.report["message"]
    setup.assert_untouched()


@pytest.mark.parametrize("fault", [{"gzip": True}, {"shiftRange": 100}, {"spoilRange": True}])
def test_a_proxy_that_spoils_ranges(setup: Setup, serve: Serve, fault: dict[str, Any]) -> None:
    """Before the hub is said to send wrong bytes they are asked for once as simply as can be."""
    setup.write(model_1=6 * MIB, model_2=300_000)
    hub = serve()
    hub.fault(fault, on="file", path="model*")
    result = setup.run()
    assert result.code == 0, result.report
    setup.assert_complete()
    assert "" in ranges(hub, "model-1.safetensors") and "" in ranges(hub, "model-2.safetensors")


def test_wrong_digest_in_the_listing(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    wrong = {"model.safetensors": {"Sha256": "ab" * 32}}
    serve().fault({"listing": {"replace": wrong}}, on="listing")
    result = setup.run()
    assert (result.code, result.report["reason"]) == (13, "IntegrityError")
    assert "ab" * 32 in result.report["message"]
    setup.assert_untouched()


@pytest.mark.parametrize("lie", [-1000, 1000])
def test_lying_length(setup: Setup, serve: Serve, lie: int) -> None:
    setup.write(model=6 * MIB)
    hub = serve()
    hub.fault({"lengthLie": lie}, on="file", path="model*", times=1)
    assert setup.run().code == 0
    setup.assert_complete()


def test_lying_length_always(setup: Setup, serve: Serve) -> None:
    setup.write(model=6 * MIB)
    serve().fault({"lengthLie": 7}, on="file", path="model*")
    result = setup.run()
    assert (result.code, result.report["reason"]) == (13, "IntegrityError")
    assert f"{6 * MIB + 7} bytes where its listing says {6 * MIB}" in result.report["message"]


def test_file_that_is_shorter_than_listed(setup: Setup, serve: Serve) -> None:
    setup.write(model=60 * MIB)
    longer = {"model.safetensors": {"Size": 100 * MIB}}
    serve().fault({"listing": {"replace": longer}}, on="listing")
    result = setup.run()
    assert (result.code, result.report["reason"]) == (13, "IntegrityError")
    assert "model.safetensors" in result.report["message"]


@pytest.mark.parametrize("times", [2, None])
def test_web_page_instead_of_a_file(setup: Setup, serve: Serve, times: int | None) -> None:
    setup.write(model=6 * MIB)
    serve().fault({"status": 200, "body": "<html>Please log in to this network</html>"}, on="file", times=times)
    result = setup.run("--give-up-after", "5")
    assert result.code == (30 if times is None else 0)
    if times is None:
        assert "web page" in result.report["message"]
        setup.assert_untouched()


# listings


def test_listing_that_recovers(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    hub = serve()
    hub.fault({"status": 500}, on="listing", times=2)
    hub.fault({"status": 429, "headers": {"Retry-After": "1"}}, on="listing", times=1)
    assert setup.run().code == 0


@pytest.mark.parametrize(
    ("fault", "code", "reason", "words"),
    [
        ({"listing": {"unsuccessful": True}}, 20, "InvalidRepository", "empty"),
        ({"listing": {"empty": True}}, 20, "InvalidRepository", "empty"),
        ({"listing": {"remove": ["config.json"]}}, 20, "InvalidRepository", "no config.json"),
        ({"listing": {"remove": ["model.safetensors"]}}, 20, "InvalidRepository", "no weights"),
        ({"listing": {"replace": {"model.safetensors": {"Sha256": ""}}}}, 20, "InvalidRepository", "no sha256"),
        ({"status": 200, "body": "<html>hello</html>"}, 30, "HubUnavailable", "not ModelScope's"),
        ({"status": 200, "body": "[" * 200_000}, 30, "HubUnavailable", "not ModelScope's"),
        ({"listing": {"replace": {"model.safetensors": {"Size": 10**30}}}}, 20, "InvalidRepository", "no size"),
        ({"listing": {"add": [{"Path": "a\ud800", "Size": 1}]}}, 20, "InvalidRepository", "unsafe path"),
        ({"status": 404, "body": "<html>not here</html>"}, 30, "HubUnavailable", "is the endpoint right?"),
        ({"status": 503}, 30, "HubUnavailable", "cannot list"),
    ],
)
def test_useless_listings(
    setup: Setup, serve: Serve, fault: dict[str, Any], code: int, reason: str, words: str
) -> None:
    setup.write(model=MIB)
    serve().fault(fault, on="listing")
    result = setup.run("--give-up-after", "1")
    assert (result.code, result.report["reason"]) == (code, reason), result.report
    assert words in result.report["message"]
    assert result.report["exitCode"] == code
    setup.assert_untouched()


def test_a_file_without_digest_that_nobody_asks_for(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    (setup.source / "notes.md").write_text("notes")
    serve().fault({"listing": {"replace": {"notes.md": {"Sha256": "", "Size": None}}}}, on="listing")
    refused = setup.run()
    assert (refused.code, refused.report["reason"]) == (20, "InvalidRepository")
    assert "'notes.md'" in refused.report["message"]
    assert setup.run("--ignore", "*.md").code == 0
    setup.assert_complete("notes.md")


@pytest.mark.parametrize("path", ["../evil.txt", "/etc/evil", "a/../../evil", ".complete.json", "a\\b", "a//b", "x\ny"])
def test_unsafe_paths(setup: Setup, serve: Serve, path: str) -> None:
    setup.write(model=MIB)
    serve().fault({"listing": {"add": [{"Path": path, "Type": "blob", "Size": 1, "Sha256": "0" * 64}]}}, on="listing")
    result = setup.run()
    assert (result.code, result.report["reason"]) == (20, "InvalidRepository")
    assert list((setup.folder / "volume").iterdir()) == [], "the volume is untouched"


def test_unknown_model_revision_and_tokens(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    hub = serve()
    unknown = setup.run("--model", "Qwen/Qwen9")
    assert (unknown.code, unknown.report["reason"]) == (10, "ModelNotFound")
    assert "Qwen/Qwen9" in unknown.report["message"] and hub.url in unknown.report["message"]
    revision = setup.run("--revision", "v9")
    assert (revision.code, revision.report["reason"]) == (10, "RevisionNotFound")
    assert "it has master" in revision.report["message"]
    hub.settings(token="right")
    for token, words in (("", "a token is needed"), ("wrong", "the token is not accepted")):
        refused = setup.run("--allow-http-token", MODELSCOPE_API_TOKEN=token)
        assert (refused.code, refused.report["reason"]) == (11, "Unauthorized")
        assert words in refused.report["message"] and MODEL in refused.report["message"]
    setup.assert_untouched()
    assert setup.run("--allow-http-token", MODELSCOPE_API_TOKEN="right").code == 0


def test_many_small_faults(setup: Setup, serve: Serve) -> None:
    setup.write(**{f"model_{n}": 3 * MIB + n for n in range(20)})
    hub = serve()
    hub.fault({"status": 503}, on="file", probability=0.1)
    hub.fault({"status": 429, "headers": {"Retry-After": "1"}}, on="file", probability=0.1)
    hub.fault({"dropEvery": MIB}, on="file", probability=0.5)
    assert setup.run().code == 0
    setup.assert_complete()
    total = sum(3 * MIB + n for n in range(20)) + len(json.dumps(CONFIG))
    assert sum(e["sent"] for e in hub.log("file")) == total


def test_connection_that_is_left_behind(setup: Setup, serve: Serve) -> None:
    """One connection falls silent while others move: it is given up long before the stall timeout."""
    setup.write(model=160 * MIB)
    hub = serve("--connection-rate", str(6 * MIB))
    hub.fault({"stallAt": 20_000_000, "seconds": 900}, on="file", path="model*", times=1)
    result = setup.run("--max-workers", "4", "--stall-timeout", "600", timeout=200)
    assert result.code == 0
    setup.assert_complete()


def test_answer_that_does_not_come(setup: Setup, serve: Serve) -> None:
    setup.write(model=6 * MIB)
    serve().fault({"delay": 900}, on="file", path="model*", times=1)
    result = setup.run(*ONE_STREAM, "--stall-timeout", "2")
    assert result.code == 0
    setup.assert_complete()
