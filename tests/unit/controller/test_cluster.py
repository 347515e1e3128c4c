"""The connection to the API server, against a small server that answers as the test says."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.client.configuration import Configuration

from qwen3_operator.controller import cluster as cluster_module
from qwen3_operator.controller.cluster import ApiError, Cluster, NamespaceEnding
from qwen3_operator.controller.kinds import DEPLOYMENTS, EVENTS, PODS

NAME = {"metadata": {"namespace": "team", "name": "chat"}}
OK = (200, {"metadata": {"name": "chat"}})
HANG_UP = (0, None)


class Server:
    """Answers with the next of `answers`, the last one for ever; status 0 hangs up."""

    def __init__(self) -> None:
        self.answers: list[Any] = [OK]
        self.seen: list[web.BaseRequest] = []
        self.bodies: list[Any] = []
        self.speaks = asyncio.Event()
        self.speaks.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        await self.speaks.wait()
        self.bodies.append(await request.json() if request.can_read_body else None)
        status, body, *headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 0:
            assert request.transport is not None
            request.transport.close()
        if isinstance(body, str):
            return web.Response(status=status, text=body)
        return web.json_response(body, status=status or 200, headers=headers[0] if headers else None)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def cluster(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    async def at_once(seconds: float) -> None:
        waits.append(seconds)

    waits: list[float] = []
    monkeypatch.setattr(asyncio, "sleep", at_once)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Cluster(configuration) as it:
        it.waits = waits  # type: ignore[attr-defined]
        yield it
    await runner.cleanup()


async def test_an_apply_says_who_and_what(cluster: Cluster, server: Server) -> None:
    await cluster.apply(DEPLOYMENTS, NAME | {"spec": {}}, manager="me", subresource="status")
    (request,) = server.seen
    assert (request.method, request.path) == ("PATCH", "/apis/apps/v1/namespaces/team/deployments/chat/status")
    assert dict(request.query) == {"fieldManager": "me", "force": "true"}
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert request.headers["User-Agent"] == "qwen3-operator"
    assert server.bodies == [{"apiVersion": "apps/v1", "kind": "Deployment", **NAME, "spec": {}}]


async def test_what_is_not_there_is_none(cluster: Cluster, server: Server) -> None:
    server.answers = [(404, {"reason": "NotFound", "message": "no such thing"})]
    assert await cluster.get(DEPLOYMENTS, "team", "chat") is None
    assert len(server.seen) == 1


async def test_a_list_comes_in_pages(cluster: Cluster, server: Server) -> None:
    server.answers = [
        (200, {"metadata": {"continue": "next"}, "items": [{"n": 1}]}),
        (200, {"metadata": {}, "items": [{"n": 2}]}),
    ]
    assert await cluster.list(PODS, "team", labels="a=b") == [{"n": 1}, {"n": 2}]
    assert [dict(r.query) for r in server.seen] == [
        {"labelSelector": "a=b", "limit": "500"},
        {"labelSelector": "a=b", "limit": "500", "continue": "next"},
    ]


async def test_the_pages_of_a_listing_say_from_where_a_watch_goes_on(cluster: Cluster, server: Server) -> None:
    server.answers = [
        (200, {"metadata": {"continue": "next", "resourceVersion": "7"}, "items": [{"n": 1}]}),
        (200, {"metadata": {"resourceVersion": "7"}, "items": None}),
    ]
    assert [page async for page in cluster.listed(PODS, labels="a=b")] == [([{"n": 1}], "7"), ([], "7")]
    assert [r.query.get("continue") for r in server.seen] == [None, "next"]


async def test_an_answer_that_is_no_json_is_none_of_the_api_servers(cluster: Cluster, server: Server) -> None:
    """Of a proxy, say: an error like any other, so that it ends no watch and no keeper of the Lease."""
    server.answers = [(200, "<html>come back later</html>\n")]
    with pytest.raises(ApiError, match=r"did not answer: no JSON"):
        await cluster.get(DEPLOYMENTS, "team", "chat")
    with pytest.raises(ApiError, match=r"did not answer: no JSON"):
        async for _ in cluster.listed(PODS):
            pass
    with pytest.raises(ApiError, match=r"did not answer: no JSON"):
        async for _ in cluster.watch(PODS, None, labels="", version="1", seconds=1):
            pass


async def test_a_limited_list_is_one_page(cluster: Cluster, server: Server) -> None:
    server.answers = [(200, {"metadata": {"continue": "next"}, "items": [{}]})]
    assert len(await cluster.list(PODS, limit=1)) == 1 and len(server.seen) == 1
    assert server.seen[0].query["limit"] == "1"


async def test_a_limit_beyond_a_page_is_several_pages(cluster: Cluster, server: Server) -> None:
    server.answers = [(200, {"metadata": {"continue": "next"}, "items": [{}] * 500})]
    assert len(await cluster.list(PODS, limit=700)) == 700 and len(server.seen) == 2


async def test_a_limit_counts_only_what_is_wanted(cluster: Cluster, server: Server) -> None:
    server.answers = [
        (200, {"metadata": {"continue": "next"}, "items": [{"n": 1}] * 500}),
        (200, {"metadata": {}, "items": [{"n": 1}, {"n": 2}, {"n": 2}]}),
    ]
    assert await cluster.list(PODS, limit=1, only=lambda it: it["n"] == 2) == [{"n": 2}]


async def test_names_come_without_their_objects_in_pages(cluster: Cluster, server: Server) -> None:
    def item(name: str) -> dict[str, Any]:
        return {"metadata": {"namespace": "team", "name": name, "uid": f"u-{name}", "resourceVersion": "7"}}

    server.answers = [
        (200, {"metadata": {"continue": "next"}, "items": [item("a")]}),
        (200, {"metadata": {}, "items": [item("b")]}),
    ]
    names = await cluster.names(DEPLOYMENTS)
    assert names == [("team", "a", "u-a", "7"), ("team", "b", "u-b", "7")]
    assert (names[0].name, names[0].resource_version) == ("a", "7")
    for request in server.seen:
        assert request.headers["Accept"] == "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        assert request.path == "/apis/apps/v1/deployments" and request.query["limit"] == "500"
    assert "continue" not in server.seen[0].query and server.seen[1].query["continue"] == "next"


async def test_a_listing_of_names_of_nothing_has_null_for_items(cluster: Cluster, server: Server) -> None:
    server.answers = [(200, {"kind": "PartialObjectMetadataList", "metadata": {}, "items": None})]
    assert await cluster.names(DEPLOYMENTS) == []


async def test_a_connection_that_breaks_is_tried_once_more(cluster: Cluster, server: Server) -> None:
    server.answers = [HANG_UP, OK]
    assert await cluster.apply(DEPLOYMENTS, NAME, manager="me") == OK[1]
    assert len(server.seen) == cluster_module.TRIES == 2


@pytest.mark.parametrize("failure", [(500, {}), (503, "not json"), (429, {"reason": "TooManyRequests"})])
async def test_no_worker_waits_for_what_passes(cluster: Cluster, server: Server, failure: Any) -> None:
    """The queue tries again: a worker that waits is one that nobody else has."""
    server.answers = [failure, OK]
    with pytest.raises(ApiError) as error:
        await cluster.apply(DEPLOYMENTS, NAME, manager="me")
    assert len(server.seen) == 1 and not error.value.final and cluster.waits == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(("header", "seconds"), [("2", 2.0), ("9999", 30.0), ("soon", None), ("\xb2", None)])
async def test_retry_after_is_handed_on_up_to_a_limit(
    cluster: Cluster, server: Server, header: str, seconds: float | None
) -> None:
    server.answers = [(429, {}, {"Retry-After": header})]
    with pytest.raises(ApiError) as error:
        await cluster.get(DEPLOYMENTS, "team", "chat")
    assert error.value.retry_after == seconds


async def test_a_server_that_is_away_is_named(cluster: Cluster, server: Server) -> None:
    server.answers = [HANG_UP]
    with pytest.raises(ApiError, match="Unreachable: the API server did not answer"):
        await cluster.get(DEPLOYMENTS, "team", "chat")


@pytest.mark.parametrize("status", [400, 403, 405, 413, 415, 422])
async def test_a_refusal_is_final_and_not_tried_again(cluster: Cluster, server: Server, status: int) -> None:
    server.answers = [(status, {"reason": "Invalid", "message": "spec.x: no"})]
    with pytest.raises(ApiError) as error:
        await cluster.apply(DEPLOYMENTS, NAME, manager="me")
    assert error.value.final and len(server.seen) == 1
    assert (error.value.status, error.value.reason, error.value.message) == (status, "Invalid", "spec.x: no")


async def test_a_namespace_that_is_being_deleted_is_no_refusal_for_good(cluster: Cluster, server: Server) -> None:
    details = {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}
    server.answers = [(403, {"reason": "Forbidden", "message": "it is being terminated", "details": details})]
    with pytest.raises(NamespaceEnding, match="it is being terminated") as error:
        await cluster.apply(DEPLOYMENTS, NAME, manager="me")
    assert not error.value.final and len(server.seen) == 1


@pytest.mark.parametrize("failure", [(500, {}), HANG_UP])
async def test_a_create_that_may_have_happened_is_not_repeated(cluster: Cluster, server: Server, failure: Any) -> None:
    server.answers = [failure, OK]
    with pytest.raises(ApiError):
        await cluster.create(EVENTS, NAME, manager="me")
    assert len(server.seen) == 1


ANOTHER = "the UID in the precondition (u) does not match the UID in record (v)"
CHANGED = "the ResourceVersion in the precondition (7) does not match the ResourceVersion in record (8)"


@pytest.mark.parametrize(("status", "message"), [(404, "not found"), (409, ANOTHER)])
async def test_deleting_what_is_gone_or_another_by_now_is_fine(
    cluster: Cluster, server: Server, status: int, message: str
) -> None:
    server.answers = [(status, {"reason": "x", "message": message})]
    await cluster.delete(DEPLOYMENTS, "team", "chat", uid="u", resource_version="7")
    assert server.bodies == [{"propagationPolicy": "Background", "preconditions": {"uid": "u", "resourceVersion": "7"}}]


async def test_deleting_what_was_changed_since_is_refused(cluster: Cluster, server: Server) -> None:
    """What was decided when it was read may be wrong by now: somebody may have taken hold of it."""
    server.answers = [(409, {"reason": "Conflict", "message": CHANGED})]
    with pytest.raises(ApiError, match="ResourceVersion"):
        await cluster.delete(DEPLOYMENTS, "team", "chat", uid="u", resource_version="7")


@pytest.mark.parametrize("status", [400, 404])
async def test_a_log_that_is_not_there_is_empty(cluster: Cluster, server: Server, status: int) -> None:
    server.answers = [(status, {"reason": "x"})]
    assert await cluster.logs("team", "pod", "c", tail=5) == ""
    server.answers = [(200, "one\ntwo")]
    assert await cluster.logs("team", "pod", "c", tail=5, previous=True) == "one\ntwo"
    assert server.seen[-1].query.items() >= {"container": "c", "tailLines": "5", "previous": "true"}.items()


async def test_a_kubelet_that_does_not_answer_is_not_waited_for(
    cluster: Cluster, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "LOG_TIMEOUT", 0.05)
    server.speaks.clear()
    assert await cluster.logs("team", "pod", "c", tail=5) == ""
    server.speaks.set()


PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"https_proxy": PROXY}, PROXY),
        ({"http_proxy": PROXY}, None),
        ({"https_proxy": PROXY, "no_proxy": "10.0.0.1"}, None),
        ({"https_proxy": PROXY, "no_proxy": "10.0.0.2"}, PROXY),
    ],
)
def test_the_environments_proxy_leads_to_the_api_server(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cluster_module._proxy("https://10.0.0.1:6443") == proxy


async def test_discovery(cluster: Cluster, server: Server) -> None:
    server.answers = [(200, {"resources": [{"name": "deployments"}]})]
    assert await cluster.serves(DEPLOYMENTS)
    server.answers = [(200, {"resources": []}), (404, {})]
    assert not await cluster.serves(DEPLOYMENTS) and not await cluster.serves(DEPLOYMENTS)


async def test_the_hook_sees_every_request_and_every_answer(server: Server, cluster: Cluster) -> None:
    seen: list[tuple[str, str, str]] = []

    async def hook(stage: str, verb: str, path: str) -> None:
        seen.append((stage, verb, path))

    cluster._hook = hook
    server.answers = [HANG_UP, OK]
    await cluster.apply(DEPLOYMENTS, NAME, manager="me")
    path = "/apis/apps/v1/namespaces/team/deployments/chat"
    assert seen == [("before", "apply", path), ("after", "apply", path)] * 2


def kubeconfig(folder: Path, name: str, *, context: str = "here") -> str:
    """A kubeconfig whose only cluster is https://NAME; `context` is what it names as its current one."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "users": [{"name": name, "user": {"token": name}}],
        "current-context": name if context == "here" else context,
    }
    (folder / name).write_text(yaml.safe_dump(content))
    return str(folder / name)


@pytest.mark.parametrize(
    ("contexts", "host"),
    [
        ({"first": "here", "second": "here"}, "https://first"),
        ({"first": "", "second": "here"}, "https://second"),
        ({"first": "second", "second": ""}, "https://second"),
        ({"missing": "", "empty": "", "second": "here"}, "https://second"),
    ],
)
async def test_several_kubeconfigs_lead_to_the_cluster_that_kubectl_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contexts: dict[str, str], host: str
) -> None:
    (tmp_path / "empty").touch()
    files = [
        str(tmp_path / name) if name in ("missing", "empty") else kubeconfig(tmp_path, name, context=context)
        for name, context in contexts.items()
    ]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(files))
    async with await Cluster.connect() as it:
        assert it.configuration.host == host
