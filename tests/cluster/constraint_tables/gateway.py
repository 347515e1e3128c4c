"""The part of the table that speaks of spec.service.gateway."""

from __future__ import annotations

from tests.cluster.constraint_tables.shared import object_name
from tests.cluster.constraints import (
    ABSENT,
    Case,
    Object,
    choice,
    items,
    matching,
    number,
    required,
    rule,
    text,
    under,
    unique,
)

GATEWAY: Object = {
    "parentRef": {"name": "public", "namespace": "edge", "sectionName": "https"},
    "hostnames": ["llm.example"],
    "pathPrefix": "/qwen3-8b",
    "header": {"name": "x-model", "value": "qwen3-8b"},
    "endpointPicker": {
        "name": "picker",
        "port": 9002,
        "failureMode": "FailClose",
        "proxy": {"name": "picker-proxy", "port": 8081},
    },
}
_HEADER_OF_ITS_OWN = "header must be neither Host nor Authorization: hostnames are for the first, and keys are no names"
_SERVERS_TO_CHOOSE = (
    "an endpoint picker chooses among servers that are there, and none holds a request while there is none:"
    " autoscaling.minReplicas must be at least 1, or leave service.gateway.endpointPicker out"
)
_LABEL = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_HOSTNAME = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_PREFIX = "^(/[A-Za-z0-9][-A-Za-z0-9._~]*)+$"
_HEADER = "^[A-Za-z0-9][-A-Za-z0-9]*$"
_VALUE = "^[!-~]([ -~]*[!-~])?$"

_FIELDS = [
    *required("parentRef", "name"),
    *object_name("parentRef.name"),
    *text("parentRef.namespace", most=63),
    *matching("parentRef.namespace", _LABEL, "edge-1", "edge.1"),
    *object_name("parentRef.sectionName"),
    *items("hostnames", 16, lambda i: f"llm-{i}.example"),
    *unique("hostnames", "a.example", "b.example"),
    *text("hostnames[]", least=1, most=253),
    *matching("hostnames[]", _HOSTNAME, "*.llm.example", "LLM.example"),
    *matching("hostnames[]", _HOSTNAME, "localhost", "llm.example:443"),
    *text("pathPrefix", most=253, longest="/" + "a" * 252),
    Case("pathPrefix", "minLength", {"pathPrefix": "/a"}, {"pathPrefix": "/"}, "should be at least 2 chars long"),
    *matching("pathPrefix", _PREFIX, "/team-a/qwen3.v1", "/qwen3/"),
    *matching("pathPrefix", _PREFIX, "/A~b_c", "/a/../b"),
    *matching("pathPrefix", _PREFIX, "/8b", "qwen3"),
    *required("header", "name", "value"),
    *text("header.name", least=1, most=128),
    *matching("header.name", _HEADER, "X-Model", "x_model"),
    *text("header.value", least=1, most=256),
    *matching("header.value", _VALUE, "Qwen3 8B (fp8)", "two\nlines"),
    *matching("header.value", _VALUE, "*", "ends in space "),
    *required("endpointPicker", "name"),
    *object_name("endpointPicker.name"),
    *number("endpointPicker.port", 1, 65535),
    *choice("endpointPicker.failureMode", "FailOpen", "FailClose"),
    *required("endpointPicker.proxy", "name"),
    *object_name("endpointPicker.proxy.name"),
    *number("endpointPicker.proxy.port", 1, 65535),
]

GATEWAY_CASES = [
    *under("spec.service.gateway.", _FIELDS),
    *required("spec.service.gateway", "parentRef"),
    *rule(
        "spec.service.gateway",
        _HEADER_OF_ITS_OWN,
        accept={"header.name": "x-host"},
        reject={"header.name": "hOst"},
    ),
    *rule(
        "spec.service.gateway",
        _HEADER_OF_ITS_OWN,
        accept={"header.name": "Authorization-Model"},
        reject={"header.name": "Authorization"},
    ),
    *rule(
        "spec",
        _SERVERS_TO_CHOOSE,
        accept={"autoscaling.minReplicas": 0, "service.gateway.endpointPicker": ABSENT},
        reject={"autoscaling.minReplicas": 0},
    ),
    *rule(
        "spec",
        _SERVERS_TO_CHOOSE,
        accept={"autoscaling": ABSENT, "replicas": 0},
        reject={"autoscaling.minReplicas": 0, "service.gateway.header": ABSENT},
    ),
]
