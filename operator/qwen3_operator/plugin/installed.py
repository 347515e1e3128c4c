"""The operator as it is installed: where it runs, as whom, with which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen3_operator.controller.kinds import DEPLOYMENTS, LEASES
from qwen3_operator.plugin.api import Api, ApiFailure

Object = Mapping[str, Any]
USUAL_NAMESPACE = "qwen3-system"
LABELS = "app.kubernetes.io/component=operator"
PREFIX = "QWEN3_OPERATOR_"


@dataclass(frozen=True)
class Installed:
    """One operator."""

    deployment: Object

    @property
    def namespace(self) -> str:
        """Where it runs."""
        return str(self.deployment["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Of its Deployment."""
        return str(self.deployment["metadata"]["name"])

    @property
    def version(self) -> str:
        """As the chart labels it."""
        return str((self.deployment["metadata"].get("labels") or {}).get("app.kubernetes.io/version") or "")

    @property
    def image(self) -> str:
        """Of its container."""
        return str(self._container.get("image") or "")

    @property
    def user(self) -> str:
        """Its name to the API server."""
        account = self._pod.get("serviceAccountName") or "default"
        return f"system:serviceaccount:{self.namespace}:{account}"

    @property
    def settings(self) -> dict[str, str]:
        """Variables of the pod that have a value, by the names of the settings."""
        return {
            variable["name"].removeprefix(PREFIX).lower(): str(variable["value"])
            for variable in self._container.get("env") or ()
            if str(variable.get("name")).startswith(PREFIX) and "value" in variable
        }

    @property
    def namespaces(self) -> list[str]:
        """Those that it serves; none: all."""
        return [name.strip() for name in self.settings.get("namespaces", "").split(",") if name.strip()]

    @property
    def pod_selector(self) -> str:
        """Label selector of its pods."""
        labels = ((self.deployment.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        return ",".join(f"{key}={value}" for key, value in labels.items())

    def lease(self, api: Api) -> Object | None:
        """Its Lease; None where there is none. Raises ApiFailure."""
        name = self.settings.get("lease_name", self.name)
        return api.find(LEASES, self.namespace, name) if name else None

    @property
    def _pod(self) -> Mapping[str, Any]:
        return ((self.deployment.get("spec") or {}).get("template") or {}).get("spec") or {}

    @property
    def _container(self) -> Mapping[str, Any]:
        found: Sequence[Object] = self._pod.get("containers") or ({},)
        return next((c for c in found if c.get("name") == "operator"), found[0])


def installed(api: Api, namespace: str) -> list[Installed] | None:
    """The operators of the cluster; where this user may not list them, those of the usual namespace or of `namespace`;
    None where there may be one that this user may not see. Raises ApiFailure."""
    for where in (None, USUAL_NAMESPACE, namespace):
        try:
            listing = api.list(DEPLOYMENTS, where, labels=LABELS, most=50)
        except ApiFailure as failure:
            if not failure.forbidden:
                raise
            continue
        found = [Installed(it) for it in listing.items if _is_operator(it)]
        if found or where is None:
            return found
    return None


def _is_operator(deployment: Object) -> bool:
    """Whether it is ours: others label their operators like that, too."""
    it = Installed(deployment)
    return any(str(v.get("name")).startswith(PREFIX) for v in it._container.get("env") or ())
