"""The front behind a Service: the EndpointSlice that leads requests to it, and the trigger that wakes what sleeps.

The slice is there all the time. While a server is ready its endpoints are `serving` and `terminating`: kube-proxy uses
those only where none is ready, so requests find the front also while the operator is away. Once no server is ready the
operator says that they are ready: for gateways that use no others, and because kube-proxy would give half of the new
requests to a server that is ending.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qwen3_front.contract import (
    ADMIN_PORT,
    ANNOTATION,
    COMPONENT,
    OURS,
    PORT_NAME,
    SERVICE_LABEL,
    SLICE_MANAGER,
    WAITING_FIELD,
    WAITING_PATH,
    Notice,
)
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.naming import COMPONENT as COMPONENT_LABEL


@dataclass(frozen=True)
class Fronts:
    """Where the front's pods are: those that take requests."""

    family: str = "IPv4"
    """addressType of EndpointSlices."""
    addresses: tuple[str, ...] = ()


def slice_name(name: str) -> str:
    """The EndpointSlice of the Qwen3Deployment `name`."""
    return f"{name}-front"


def front_slice(
    namespace: str, name: str, uid: str, *, port: int, fronts: Fronts, notice: Notice, stands_in: bool
) -> dict[str, Any]:
    """The slice that leads to `port` of the front. `stands_in`: no server is ready."""
    conditions = {"ready": stands_in, "serving": True, "terminating": not stands_in}
    metadata = child_metadata(namespace, name, uid, slice_name(name))
    labels = metadata["labels"] | {COMPONENT_LABEL: COMPONENT, SERVICE_LABEL: name, SLICE_MANAGER: OURS}
    return {
        "metadata": metadata | {"labels": labels, "annotations": {ANNOTATION: notice.written()}},
        "addressType": fronts.family,
        "endpoints": [{"addresses": [it], "conditions": conditions} for it in fronts.addresses],
        "ports": [{"name": PORT_NAME, "port": port, "protocol": "TCP"}],
    }


def waiting_trigger(front: str, namespace: str, name: str, per_server: int) -> dict[str, Any]:
    """The trigger of a KEDA ScaledObject that counts requests held by the front (its Service, as NAMESPACE/NAME): one
    is enough for the first server, and there is one server for each `per_server` of them."""
    space, _, service = front.partition("/")
    path = WAITING_PATH.format(namespace=namespace, name=name)
    metadata = {
        "url": f"http://{service}.{space}.svc:{ADMIN_PORT}{path}",
        "format": "json",
        "valueLocation": WAITING_FIELD,
        "targetValue": str(per_server),
        "activationTargetValue": "0",
        # Each of several fronts holds requests of its own.
        "aggregateFromKubeServiceEndpoints": "true",
        "aggregationType": "sum",
    }
    return {"type": "metrics-api", "name": "front", "metricType": "AverageValue", "metadata": metadata}
