"""The route from a Gateway to the Service, and where clients find it."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api.gateway import EndpointPicker, Gateway
from qwen3_operator.controller.kinds import INFERENCE_POOLS
from qwen3_operator.desired.child import child_metadata

API_PATH = "/v1"
"""The OpenAI API. vLLM's own paths beside it (/metrics, /tokenize and others) are nobody's outside the cluster."""
NO_LIMIT = "0s"
"""An answer takes as long as the model writes: a Gateway's own default, seconds often, would cut it off."""


def http_route(
    namespace: str, name: str, uid: str, port: int, gateway: Gateway, *, picked: bool = False
) -> dict[str, Any]:
    """The HTTPRoute of the Qwen3Deployment `name`; `port`: of its Service. `picked`: the endpoint picker chooses.

    Lists that are empty say so: what a hand puts into them, like a filter that mirrors every request, is undone.
    """
    return {
        "metadata": child_metadata(namespace, name, uid),
        "spec": {
            "parentRefs": [gateway.parent_ref.model_dump(by_alias=True, exclude_none=True)],
            "hostnames": list(gateway.hostnames),
            "rules": [
                {
                    "matches": [match],
                    "filters": filters,
                    "backendRefs": [_backend(name, port, gateway.endpoint_picker if picked else None)],
                    "timeouts": {"request": NO_LIMIT},
                }
                for match, filters in _ways(gateway)
            ],
        },
    }


def gateway_endpoint(gateway: Gateway) -> str:
    """Host and path of the OpenAI API behind the first hostname; the path alone where the listener names the host."""
    return (gateway.hostnames[0] if gateway.hostnames else "") + (gateway.path_prefix or "") + API_PATH


def _ways(gateway: Gateway) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each way that leads here: a match, and what is done to a request that came by it."""
    ways: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if gateway.path_prefix is not None:
        rewrite = {"type": "ReplacePrefixMatch", "replacePrefixMatch": API_PATH}
        ways.append((_under(gateway.path_prefix + API_PATH), [{"type": "URLRewrite", "urlRewrite": {"path": rewrite}}]))
    if gateway.header is not None:
        header = {"type": "Exact", **gateway.header.model_dump(by_alias=True)}
        ways.append((_under(API_PATH) | {"headers": [header]}, []))
    return ways or [(_under(API_PATH), [])]


def _backend(name: str, port: int, picker: EndpointPicker | None) -> dict[str, Any]:
    """The Service, or what leads to the server that a picker chooses."""
    if picker is None:
        return {"name": name, "port": port}
    if picker.proxy is not None:
        return {"name": picker.proxy.name, "port": picker.proxy.port}
    return {"group": INFERENCE_POOLS.api_version.partition("/")[0], "kind": INFERENCE_POOLS.kind, "name": name}


def _under(path: str) -> dict[str, Any]:
    return {"path": {"type": "PathPrefix", "value": path}}
