"""The operator as the chart installs it: its ServiceAccount, its Roles, its pod's settings; but as a process here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import devcluster
import yaml
from tests.chart.helm import template
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.rights import Right, granted

Object = dict[str, Any]
RBAC = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
NAME = "qwen3-operator"
NAMESPACE = "qwen3-system"
STANDS_FOR_ANY = "any-namespace"


@dataclass(frozen=True, eq=False)
class Release:
    """One installation of the chart, without the pod."""

    name: str
    namespace: str
    kubeconfig: Path
    """With a token of the ServiceAccount."""
    settings: dict[str, str]
    """What the chart sets in the pod."""
    granted: set[Right]
    for_a_namespace: list[Object] = field(default_factory=list)
    """Role and RoleBinding of a served namespace, which is called STANDS_FOR_ANY in them."""

    @property
    def user(self) -> str:
        """The operator's name in the audit log."""
        return f"system:serviceaccount:{self.namespace}:{self.name}"

    def operator(self, log: Path, **settings: str) -> OperatorProcess:
        """The process of the pod, with some settings changed."""
        return OperatorProcess(self.kubeconfig, log, **(self.settings | settings))

    def roles_in(self, namespace: str) -> list[Object]:
        """What the chart makes in a namespace of `watchNamespaces`."""
        text = yaml.safe_dump_all(self.for_a_namespace).replace(STANDS_FOR_ANY, namespace)
        return list(yaml.safe_load_all(text))


def install(
    cluster: devcluster.Cluster,
    folder: Path,
    *values: str,
    name: str = NAME,
    namespace: str = NAMESPACE,
    narrow: bool = False,
) -> Release:
    """Install ServiceAccount and Roles with `values` of the chart; `narrow`: for namespaces that are named, each with
    its own `roles_in`."""
    named = [f"watchNamespaces={{{STANDS_FOR_ANY}}}"] if narrow else []
    manifests = template(*values, *named, release=name, namespace=namespace)
    account = next(m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount")
    rbac = [m for m in manifests if m["kind"] in RBAC]
    in_any = [m for m in rbac if m["metadata"].get("namespace") == STANDS_FOR_ANY]
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
    cluster.apply(m for m in rbac if m not in in_any)
    deployment = next(m for m in manifests if m["kind"] == "Deployment")
    kubeconfig, settings = of_pod(cluster, deployment, folder / f"{name}.kubeconfig")
    return Release(account, namespace, kubeconfig, settings, granted(rbac, account), in_any)


def of_pod(cluster: devcluster.Cluster, deployment: Object, kubeconfig: Path) -> tuple[Path, dict[str, str]]:
    """What the operator's Deployment gives to its pod: a token of its ServiceAccount, in `kubeconfig`, and settings."""
    namespace = deployment["metadata"]["namespace"]
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    return as_account(cluster, namespace, account, kubeconfig), _settings(deployment)


def as_account(cluster: devcluster.Cluster, namespace: str, account: str, kubeconfig: Path) -> Path:
    """Write a kubeconfig with a token of a ServiceAccount; returns it."""
    token = cluster.kubectl("create", "token", account, f"--namespace={namespace}", "--duration=24h").strip()
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(_with_token(yaml.safe_load(cluster.kubeconfig.read_text()), token))
    return kubeconfig


def _with_token(admin: Object, token: str) -> str:
    """The administrator's kubeconfig with another user in it."""
    return yaml.safe_dump(admin | {"users": [user | {"user": {"token": token}} for user in admin["users"]]})


def _settings(deployment: Object) -> dict[str, str]:
    """The chart's environment by the names of the settings. Logs are read by people here."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given = {
        entry["name"].removeprefix("QWEN3_OPERATOR_").lower(): entry["value"]
        for entry in container["env"]
        if "value" in entry
    }
    ours = {"lease_namespace": deployment["metadata"]["namespace"], "log_format": "text"}
    return {k: v for k, v in given.items() if k not in ("http_port", "namespaces")} | ours
