"""The one place that talks to the API server: plain JSON objects in and out, over the official asyncio client.

Writes are server-side applies, creates by name and deletes, all safe to repeat, so a connection that breaks is tried
once more here; what the API server answers is left to the caller as ApiError, and trying again later to the queue: a
worker that waits is a worker that nobody else has. `hook` sees every request before it is sent and every answer before
it is handed on: tests crash the operator there.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yaml
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from pydantic_core import from_json, to_json

from qwen3_operator.controller import metrics
from qwen3_operator.controller.decode import Undecodable, decode
from qwen3_operator.controller.kinds import PODS, Kind

Object = dict[str, Any]
Objects = list[Object]
Hook = Callable[[str, str, str], Awaitable[None]]

TRIES = 2
"""Of a request that got no answer."""
REQUEST_TIMEOUT = 30.0
WATCH_SILENCE = 90.0
"""A watch brings a bookmark every minute: one that says nothing for so long is dead."""
LOG_TIMEOUT = 3.0
"""A kubelet that does not answer must not hold up the reconcile."""
LOG_BYTES = 256 * 1024
PAGE = 500
"""Objects that one answer to a list holds at most."""
JSON = "application/json"
NAMES_ONLY = f"{JSON};as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class Name(NamedTuple):
    """Identifies one object, and one version of it, among all of its kind."""

    namespace: str
    name: str
    uid: str
    resource_version: str


class ApiError(Exception):
    """The API server refused. `reason` is its own word, like NotFound, Conflict, Invalid or Forbidden."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{reason} ({status}): {message}" if status else f"{reason}: {message}")
        self.status, self.reason, self.message = status, reason, message
        self.retry_after: float | None = None
        """Seconds that the API server asks to wait before the next try."""

    @property
    def final(self) -> bool:
        """Whether the same request would be refused again: the request itself is wrong or not allowed."""
        # An apply with a field that the kind does not have, or of another type, is answered by 500.
        mistyped = self.status == 500 and "failed to create typed patch object" in self.message
        return mistyped or self.status in (400, 403, 404, 405, 413, 415, 422)


class NamespaceEnding(ApiError):
    """The namespace is being deleted, and takes nothing new."""

    final = False


class Cluster:
    """A connection to one API server. Close it, or use it as an async context manager."""

    def __init__(self, configuration: Configuration, *, hook: Hook | None = None, user_agent: str = "") -> None:
        self.configuration = configuration
        self._api = ApiClient(configuration)
        self._api.user_agent = user_agent or "qwen3-operator"
        self._hook = hook

    @classmethod
    async def connect(cls, *, hook: Hook | None = None, connections: int = 64, user_agent: str = "") -> Cluster:
        """Connect with the pod's ServiceAccount, or with KUBECONFIG. Raises kubernetes' ConfigException."""
        configuration = Configuration()
        if _SERVICE_ACCOUNT.exists():  # noqa: ASYNC240 - once, at the start
            config.load_incluster_config(client_configuration=configuration)
        else:
            files, context = _kubeconfig()
            await config.load_kube_config(files, context=context, client_configuration=configuration)
        configuration.connection_pool_maxsize = connections
        # The session would read the environment's proxies and netrc anew, in two threads, for every request.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.proxy = configuration.proxy or _proxy(configuration.host)
        return cls(configuration, hook=hook, user_agent=user_agent)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return await self._json("get", kind, "GET", kind.path(namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def listed(
        self, kind: Kind, namespace: str | None = None, *, labels: str = ""
    ) -> AsyncIterator[tuple[Objects, str]]:
        """Pages of the objects of `kind` by label selector, each with the version from which a watch goes on. Raises
        ApiError: 404 where the kind is not served, 410 where the pages were too slow."""
        async for page in self._pages(kind, namespace, {"labelSelector": labels}):
            yield page["items"] or [], str(page["metadata"]["resourceVersion"])

    async def watch(
        self, kind: Kind, namespace: str | None, *, labels: str, version: str, seconds: int
    ) -> AsyncIterator[tuple[str, Object]]:
        """What happens to objects of `kind` after `version`, as (ADDED, MODIFIED, DELETED or BOOKMARK, object), for so
        many seconds. Raises ApiError; 410 where `version` is too old."""
        query = {"watch": "true", "allowWatchBookmarks": "true", "labelSelector": labels}
        query |= {"resourceVersion": version, "timeoutSeconds": str(seconds)}
        request = await self._api.param_serialize(
            "GET",
            kind.path(namespace),
            query_params=[(k, v) for k, v in query.items() if v],
            header_params={"Accept": JSON},
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=seconds + REQUEST_TIMEOUT, sock_read=WATCH_SILENCE)
        try:
            answer = await self._api.call_api(*request, _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            async with response:
                if response.status != 200:
                    raise _error(response.status, await response.read())
                async for line in _lines(response):
                    event = _decoded(line)
                    if event["type"] == "ERROR":
                        raise _error(int(event["object"].get("code") or 500), to_json(event["object"]))
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError) as error:
            raise _error(0, f"{type(error).__name__}: {error}".encode()) from error

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int | None = None,
        only: Callable[[Object], bool] = lambda _: True,
    ) -> Objects:
        """Objects of `kind` by label and field selector, and by `only`; with `limit`, no more than that of these."""
        selectors = {"labelSelector": labels, "fieldSelector": fields}
        found: Objects = []
        async for page in self._pages(kind, namespace, selectors, limit=min(limit or PAGE, PAGE)):
            found += filter(only, page["items"] or ())
            if limit and len(found) >= limit:
                break
        return found[:limit]

    async def names(self, kind: Kind, namespace: str | None = None, *, labels: str = "") -> Sequence[Name]:
        """All objects of `kind` by label selector, without what is in them."""
        pages = self._pages(kind, namespace, {"labelSelector": labels}, accept=NAMES_ONLY)
        metas = [item["metadata"] async for page in pages for item in page["items"] or ()]
        return [Name(m.get("namespace", ""), m["name"], m["uid"], m["resourceVersion"]) for m in metas]

    async def _pages(
        self,
        kind: Kind,
        namespace: str | None,
        selectors: Mapping[str, str],
        *,
        limit: int = PAGE,
        accept: str = JSON,
    ) -> AsyncIterator[Object]:
        """The pages of a listing; the `items` of one of names are null where there is none."""
        query = {**selectors, "limit": str(limit)}
        while True:
            page = await self._json("list", kind, "GET", kind.path(namespace), query=query, accept=accept)
            yield page
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return

    async def apply(
        self,
        kind: Kind,
        obj: Object,
        *,
        manager: str,
        subresource: str | None = None,
        force: bool = True,
        dry_run: bool = False,
    ) -> Object:
        """Server-side apply of what `manager` wants of `obj`. Conflicts are decided for `manager`, or without `force`
        answered by 409. With `dry_run` nothing is kept of it: the answer is what would be."""
        meta = obj["metadata"]
        return await self._json(
            "apply",
            kind,
            "PATCH",
            kind.path(meta.get("namespace"), meta["name"], subresource),
            query={"fieldManager": manager, "force": "true" if force else "", "dryRun": "All" if dry_run else ""},
            body={"apiVersion": kind.api_version, "kind": kind.kind, **obj},
            content_type="application/apply-patch+yaml",
        )

    async def create(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        """Create `obj`. Raises ApiError (409) where it is there already."""
        return await self._json(
            "create",
            kind,
            "POST",
            kind.path(obj["metadata"].get("namespace")),
            query={"fieldManager": manager},
            body={"apiVersion": kind.api_version, "kind": kind.kind, **obj},
        )

    async def replace(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        """Write `obj` whole. Raises ApiError (409) where its resourceVersion is no longer the newest."""
        meta = obj["metadata"]
        return await self._json(
            "update",
            kind,
            "PUT",
            kind.path(meta.get("namespace"), meta["name"]),
            query={"fieldManager": manager},
            body={"apiVersion": kind.api_version, "kind": kind.kind, **obj},
        )

    async def merge(self, kind: Kind, obj: Object, *, manager: str) -> Object:
        """JSON merge patch: lists are replaced whole. Raises ApiError (409) where the uid or resourceVersion that
        `obj` names is another by now."""
        meta = obj["metadata"]
        return await self._json(
            "patch",
            kind,
            "PATCH",
            kind.path(meta.get("namespace"), meta["name"]),
            query={"fieldManager": manager},
            body=obj,
            content_type="application/merge-patch+json",
        )

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str, resource_version: str) -> None:
        """Delete exactly this version of the object with that `uid`, dependents in the background. Gone is fine.

        Raises ApiError (409) where it was changed since: what was decided then may be wrong now.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        try:
            await self._json(
                "delete",
                kind,
                "DELETE",
                kind.path(namespace, name),
                body={"propagationPolicy": "Background", "preconditions": preconditions},
            )
        except ApiError as error:
            if error.status != 404 and not (error.status == 409 and "UID in the precondition" in error.message):
                raise

    async def logs(
        self, namespace: str, pod: str, container: str, *, tail: int, previous: bool = False, limit: int = LOG_BYTES
    ) -> str:
        """The last `tail` lines of a container's log, of these the first `limit` bytes; empty where there is no log
        (yet)."""
        query = {"container": container, "tailLines": str(tail), "previous": "true" if previous else ""}
        query["limitBytes"] = str(limit)
        try:
            # One try: not started, gone, or a node that does not answer are all "no log"; the caller asks again later.
            async with asyncio.timeout(LOG_TIMEOUT):
                path = PODS.path(namespace, pod, "log")
                body = await self._request("logs", PODS, "GET", path, query=query, tries=1)
        except TimeoutError:
            return ""
        except ApiError as error:
            if error.status == 403:
                raise
            return ""
        return body.decode(errors="replace")

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows `kind`."""
        try:
            listed = from_json(await self._request("discover", kind, "GET", f"/apis/{kind.api_version}"))
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(resource["name"] == kind.plural for resource in listed["resources"])

    async def _json(self, verb: str, kind: Kind, method: str, path: str, **kwargs: Any) -> Object:
        return _decoded(await self._request(verb, kind, method, path, **kwargs))

    async def _request(
        self,
        verb: str,
        kind: Kind,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        tries: int = TRIES,
    ) -> bytes:
        for attempt in range(1, tries + 1):
            if self._hook:
                await self._hook("before", verb, path)
            started = time.monotonic()
            status, retry_after, data = await self._send(method, path, query, body, content_type, accept)
            metrics.API_SECONDS.labels(verb).observe(time.monotonic() - started)
            metrics.API_REQUESTS.labels(verb, kind.plural, str(status or "error")).inc()
            if self._hook:
                await self._hook("after", verb, path)
            if 200 <= status < 300:
                return data
            error = _error(status, data)
            error.retry_after = retry_after
            # A create may have happened although its answer was lost: its caller reads first.
            if status != 0 or method in ("POST", "PUT") or attempt == tries:
                raise error
        raise AssertionError("unreachable")

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Object | None,
        content_type: str,
        accept: str,
    ) -> tuple[int, float | None, bytes]:
        """One request: status (0 when there was no answer), Retry-After in seconds, body."""
        _, url, headers, _, _ = await self._api.param_serialize(
            method,
            path,
            query_params=[(k, v) for k, v in (query or {}).items() if v],
            header_params={"Accept": accept, "Content-Type": content_type},
            auth_settings=["BearerToken"],
        )
        try:
            # The body is JSON already: the client would copy it, value by value, in search of its own models.
            response = await self._api.call_api(method, url, headers, body, _request_timeout=REQUEST_TIMEOUT)
            data: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError) as error:
            return 0, None, f"{type(error).__name__}: {error}".encode()
        wait = response.headers.get("Retry-After", "")
        return response.status, min(float(wait), 30.0) if wait.isdecimal() else None, data


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length."""
    parts: list[bytes] = []
    async for chunk in response.content.iter_any():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            if line := b"".join([*parts, end]):
                yield line
            parts = []
        parts.append(rest)


def _kubeconfig() -> tuple[str, str | None]:
    """Files of KUBECONFIG and the current context, as kubectl reads them: the first file that names one decides.

    The client would take the last one, which is another cluster, and stumble over a file that is empty.
    """
    named = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    files: dict[str, dict[str, Any]] = {}
    for file in named.split(os.pathsep):
        path = Path(file).expanduser()
        if file and path.is_file() and isinstance(found := yaml.safe_load(path.read_text()), dict):
            files[file] = found
    contexts = [found["current-context"] for found in files.values() if found.get("current-context")]
    return os.pathsep.join(files) or named, next(iter(contexts), None)


def _proxy(host: str) -> str | None:
    """The environment's proxy for the address of an API server."""
    parts = urlsplit(host)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def _decoded(data: bytes) -> Object:
    """Raises ApiError for what is no JSON: something between us and the API server has answered."""
    try:
        found: Object = decode(data)
        return found
    except Undecodable as error:
        raise _error(0, str(error).encode()) from error


def _error(status: int, data: bytes) -> ApiError:
    if status == 0:
        return ApiError(0, "Unreachable", f"the API server did not answer: {data.decode(errors='replace')}")
    try:
        answer = from_json(data)
        causes = (answer.get("details") or {}).get("causes") or []
        kind = NamespaceEnding if any(c.get("reason") == "NamespaceTerminating" for c in causes) else ApiError
        return kind(status, answer.get("reason") or str(status), answer.get("message") or "")
    except (ValueError, AttributeError):
        return ApiError(status, str(status), data.decode(errors="replace")[:500])
