"""What the operator may do by its Roles, and what it did by the audit log: a refusal and a right that nobody needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Object = Mapping[str, Any]
FOLDER = Path(__file__).parent
"""The folder whose tests use every right, all together."""


class Right(NamedTuple):
    """A verb on a resource, as a rule of a Role names them (resource/subresource)."""

    verb: str
    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


NEVER_A_REQUEST = {
    Right("update", "serving.qwen3.dev", f"{kind}/finalizers")
    for kind in ("qwen3deployments", "qwen3models", "qwen3batches")
} | {Right("create", "discovery.k8s.io", "endpointslices/restricted")}
"""What only admission plugins ask the authorizer for (OwnerReferencesPermissionEnforcement and
RestrictedEndpointsAdmission, on in OpenShift): it stands in no audit log."""


def granted(manifests: Iterable[Object], account: str) -> set[Right]:
    """Every right that the roles among the manifests give to the ServiceAccount of that name."""
    manifests = list(manifests)
    bound = {
        (it["roleRef"]["kind"], it["roleRef"]["name"])
        for it in manifests
        if it["kind"] in ("RoleBinding", "ClusterRoleBinding")
        if account in [subject["name"] for subject in it["subjects"]]
    }
    return {
        Right(verb, group, resource)
        for it in manifests
        if (it["kind"], it["metadata"]["name"]) in bound
        for rule in it["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def used(request: Object) -> set[Right]:
    """The rights that a request of the audit log has used; none where it is about no object, or was refused."""
    if "objectRef" not in request or is_refusal(request):
        return set()
    about = request["objectRef"]
    resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
    right = Right(request["verb"], about.get("apiGroup", ""), resource)
    # An apply that makes the object asks for both.
    made = request["verb"] == "patch" and request["responseStatus"]["code"] == 201
    return {right, right._replace(verb="create")} if made else {right}


def is_refusal(request: Object) -> bool:
    """Whether the authorizer said no. A quota, or a namespace that is being deleted, answers 403 as well."""
    status = request.get("responseStatus") or {}
    by_rule = (request.get("annotations") or {}).get("authorization.k8s.io/decision") == "forbid"
    # An apply may patch, and must not create: then the words decide, which name the user.
    return by_rule or (status.get("code") == 403 and 'User "system:serviceaccount:' in str(status.get("message")))


@dataclass
class Ledger:
    """What one test process saw, or all of them together."""

    granted: set[Right] = field(default_factory=set)
    used: set[Right] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    """Requests that the authorizer refused, in words."""
    files: set[str] = field(default_factory=set)
    """Names of the test files of FOLDER that were collected."""
    partial: bool = False
    """Whether some of their tests were left out."""

    def read(self, requests: Iterable[Object], users: Iterable[str]) -> None:
        """Take in what `users` asked for by an audit log."""
        of = set(users)
        for request in requests:
            if request["user"]["username"] in of:
                self.used |= used(request)
                if is_refusal(request):
                    message = (request.get("responseStatus") or {}).get("message", "")
                    self.refused.add(f"{request['verb']} {request['requestURI']}: {message}")

    def add(self, other: Ledger) -> None:
        """Take in what another process saw."""
        for name in ("granted", "used", "refused", "files"):
            getattr(self, name).update(getattr(other, name))
        self.partial |= other.partial

    def faults(self) -> list[str]:
        """What is wrong with the Roles, in words. Unused rights are reported only where every test of FOLDER ran."""
        found = [f"refused to the operator: {words}" for words in sorted(self.refused)]
        if not self.partial and self.files >= {path.name for path in FOLDER.glob("test_*.py")}:
            unused = self.granted - self.used - NEVER_A_REQUEST
            found += [f"granted by the chart, used by no test: {right}" for right in sorted(unused)]
        return found

    def plain(self) -> dict[str, Any]:
        """As lists and strings, for another process."""
        rights = {key: sorted(tuple(right) for right in getattr(self, key)) for key in ("granted", "used")}
        return rights | {"refused": sorted(self.refused), "files": sorted(self.files), "partial": self.partial}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Ledger:
        """What `plain` returned."""
        rights = {key: {Right(*it) for it in plain[key]} for key in ("granted", "used")}
        return cls(**rights, refused=set(plain["refused"]), files=set(plain["files"]), partial=plain["partial"])
