"""The rights that the operator needs, as the chart's Roles give them, and those of a person at the plugin. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qwen3_operator.api import GROUP

Object = dict[str, Any]


@dataclass(frozen=True)
class Right:
    """A verb on a resource (`pods/log`: on its sub-resource)."""

    verb: str
    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


def _rights(group: str, resources: str, verbs: str) -> tuple[Right, ...]:
    return tuple(Right(verb, group, resource) for resource in resources.split() for verb in verbs.split())


# A test holds them equal to charts/qwen3-operator/templates/_rules.tpl.
IN_NAMESPACES = (
    *_rights(GROUP, "qwen3deployments qwen3batches", "list watch"),
    *_rights(GROUP, "qwen3models", "get list watch create patch delete"),
    *_rights(GROUP, "qwen3deployments/status qwen3models/status qwen3batches/status", "patch"),
    *_rights(GROUP, "qwen3deployments/finalizers qwen3models/finalizers qwen3batches/finalizers", "update"),
    *_rights("apps", "deployments", "get list watch create patch"),
    *_rights("apps", "replicasets", "list"),
    *_rights("", "services persistentvolumeclaims", "get list watch create patch"),
    *_rights("policy", "poddisruptionbudgets", "get list watch create patch delete"),
    *_rights("batch", "jobs", "get list watch create patch delete"),
    *_rights("", "pods", "list watch"),
    *_rights("", "pods/log", "get"),
    *_rights("", "configmaps", "get create patch"),
    *_rights("events.k8s.io", "events", "get list create update"),
)
"""In every namespace that it serves."""
OF_CLUSTER = (
    *_rights("", "nodes", "list watch"),
    *_rights("storage.k8s.io", "storageclasses", "get"),
)
OF_PERSON = {
    "see what is served": _rights(GROUP, "qwen3deployments qwen3models qwen3batches", "get list"),
    "see why a server does not start": (*_rights("", "pods events", "list"), *_rights("", "pods/log", "get")),
    "have a model served": _rights(GROUP, "qwen3deployments", "create patch"),
    "chat": _rights("", "pods/portforward", "create"),
}
"""What a person does in a namespace."""


def review(right: Right, namespace: str | None, user: str = "") -> Object:
    """The question to the API server whether `user` has a right; empty: whoever asks."""
    resource, _, subresource = right.resource.partition("/")
    about = {"verb": right.verb, "group": right.group, "resource": resource}
    about |= ({"subresource": subresource} if subresource else {}) | ({"namespace": namespace} if namespace else {})
    kind = "SubjectAccessReview" if user else "SelfSubjectAccessReview"
    spec: Object = {"resourceAttributes": about} | ({"user": user} if user else {})
    if user.startswith("system:serviceaccount:"):
        of = user.split(":")[2]
        spec["groups"] = ["system:serviceaccounts", f"system:serviceaccounts:{of}", "system:authenticated"]
    return {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}


def review_path(user: str = "") -> str:
    """Where the question is put."""
    return f"/apis/authorization.k8s.io/v1/{'subjectaccessreviews' if user else 'selfsubjectaccessreviews'}"
