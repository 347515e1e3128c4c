"""A small synchronous client for tests: plain objects in and out, over the official Python client's connection.

It is not the operator's own `Cluster`, so that a mistake there cannot hide itself; only the URL paths are shared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config

from qwen3_operator.controller.decode import allow_deep_json
from qwen3_operator.controller.kinds import (
    CLAIMS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    ENDPOINT_SLICES,
    EVENTS,
    HTTP_ROUTES,
    INFERENCE_POOLS,
    JOBS,
    NODES,
    PODS,
    REPLICA_SETS,
    SCALED_OBJECTS,
    SECRETS,
    SERVICES,
    Kind,
)
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS

Object = dict[str, Any]

NAMESPACES = Kind("v1", "Namespace", "namespaces")
ROLES = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
CLUSTER_ROLES = Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles")
ROLE_BINDINGS = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
QUOTAS = Kind("v1", "ResourceQuota", "resourcequotas")
PRIORITY_CLASSES = Kind("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses")
STAGES = Kind("kwok.x-k8s.io/v1alpha1", "Stage", "stages")
STORAGE_CLASSES = Kind("storage.k8s.io/v1", "StorageClass", "storageclasses")
KINDS = {
    kind.kind: kind
    for kind in (
        *(
            CLAIMS,
            CONFIG_MAPS,
            DEPLOYMENTS,
            DISRUPTION_BUDGETS,
            ENDPOINT_SLICES,
            HTTP_ROUTES,
            INFERENCE_POOLS,
            JOBS,
            NODES,
            PODS,
            REPLICA_SETS,
            SCALED_OBJECTS,
            SECRETS,
            SERVICES,
            QWEN3_DEPLOYMENTS,
            QWEN3_MODELS,
            QWEN3_BATCHES,
        ),
        *(NAMESPACES, ROLES, CLUSTER_ROLES, ROLE_BINDINGS, QUOTAS, PRIORITY_CLASSES, STAGES, STORAGE_CLASSES),
        *(EVENTS, Kind("coordination.k8s.io/v1", "Lease", "leases")),
    )
}


class Refused(Exception):
    """The API server's answer was an error; `str()` is its message, as kubectl prints it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """Requests to one API server as the cluster's administrator. Errors are raised as Refused."""

    def __init__(self, kubeconfig: Path) -> None:
        allow_deep_json()
        client = kubernetes.config.new_client_from_config(str(kubeconfig))
        client.user_agent = "tests"
        self._client = client
        self._host = client.configuration.host

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = "application/json",
        stream: bool = False,
    ) -> Object:
        """One request, bytes as they are; the parsed answer, the `events` of a watch (`stream`), or the `text` of what
        is no JSON."""
        headers = {"Content-Type": content_type, "Accept": "application/json", "User-Agent": "tests"}
        words = "&".join(f"{k}={v}" for k, v in (query or {}).items())
        answer = self._client.rest_client.pool_manager.request(
            method,
            f"{self._host}{path}{'?' + words if words else ''}",
            headers=headers,
            body=body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
            timeout=90,  # two cores are shared by several control planes
        )
        parsed: Object
        if stream:
            parsed = {"events": [json.loads(line) for line in answer.data.splitlines()]}
        elif answer.data[:1] == b"{":
            parsed = json.loads(answer.data)
        else:
            parsed = {"text": answer.data.decode()}
        if answer.status >= 400:
            raise Refused(answer.status, parsed.get("message") or str(parsed))
        return parsed

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """The object, or None."""
        try:
            return self.request("GET", KINDS[kind].path(namespace, name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = None, **query: str) -> list[Object]:
        """Objects; `query`: labelSelector, fieldSelector."""
        items: list[Object] = self.request("GET", KINDS[kind].path(namespace), query=query)["items"]
        return items

    def create(self, obj: Object, *, dry_run: bool = False) -> Object:
        """Create as kubectl does: unknown fields are refused."""
        query = {"fieldValidation": "Strict", "fieldManager": "tests"} | ({"dryRun": "All"} if dry_run else {})
        return self.request("POST", KINDS[obj["kind"]].path(obj["metadata"].get("namespace")), obj, query=query)

    def apply(self, obj: Object, *, manager: str = "tests", force: bool = True) -> Object:
        """Server-side apply."""
        meta = obj["metadata"]
        return self.request(
            "PATCH",
            KINDS[obj["kind"]].path(meta.get("namespace"), meta["name"]),
            obj,
            query={"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"},
            content_type="application/apply-patch+yaml",
        )

    def patch(
        self,
        kind: str,
        namespace: str | None,
        name: str,
        change: Any,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
        strategic: bool = False,
    ) -> Object:
        """Merge patch for a dict (strategic on request), JSON patch for a list, by the field manager `tests`."""
        form = "json-patch" if isinstance(change, list) else "strategic-merge-patch" if strategic else "merge-patch"
        return self.request(
            "PATCH",
            KINDS[kind].path(namespace, name, subresource),
            change,
            query={"fieldManager": "tests", "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {}),
            content_type=f"application/{form}+json",
        )

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        """Delete, dependents in the background; gone is fine."""
        try:
            self.request("DELETE", KINDS[kind].path(namespace, name), {"propagationPolicy": "Background"})
        except Refused as refused:
            if refused.status != 404:
                raise
