"""The InferencePool: the servers as an endpoint picker and a Gateway know them."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api.gateway import EndpointPicker
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.desired.server import PORT
from qwen3_operator.naming import server_selector


def inference_pool(namespace: str, name: str, uid: str, picker: EndpointPicker) -> dict[str, Any]:
    """The InferencePool of the Qwen3Deployment `name`: a picker speaks to servers, not to the Service."""
    return {
        "metadata": child_metadata(namespace, name, uid),
        "spec": {
            "selector": {"matchLabels": server_selector(name)},
            "targetPorts": [{"number": PORT}],
            "endpointPickerRef": {
                "kind": "Service",
                "name": picker.name,
                "port": {"number": picker.port},
                "failureMode": picker.failure_mode,
            },
        },
    }
