"""The route from a Gateway of the cluster (Gateway API) to the servers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from qwen3_operator.api.base import SET_LIST, ApiModel, ObjectName, rule, rules

Hostname = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=253,
        pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
    ),
]


class GatewayRef(ApiModel):
    """A Gateway."""

    name: ObjectName
    """Its name."""
    namespace: Annotated[str, StringConstraints(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] | None = (
        None
    )
    """Its namespace. Default: that of the Qwen3Deployment. Whom a Gateway takes routes from, its listeners say
    (allowedRoutes)."""
    section_name: ObjectName | None = None
    """One listener of it, by name. Default: every listener that fits."""


class GatewayHeader(ApiModel):
    """A header with just this value."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][-A-Za-z0-9]*$")]
    """Its name, upper or lower case."""
    value: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[!-~]([ -~]*[!-~])?$")]
    """Its value."""


class PickerProxy(ApiModel):
    """A proxy that asks the picker itself (its standalone form)."""

    name: ObjectName
    """Its Service, in the namespace of the Qwen3Deployment."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8081
    """Port of that Service, for HTTP."""


class EndpointPicker(ApiModel):
    """An endpoint picker (Gateway API Inference Extension), which chooses the server of each request by its queue and
    its prefix cache. Whoever runs the Gateway runs it."""

    name: ObjectName
    """Its Service, in the namespace of the Qwen3Deployment."""
    port: Annotated[int, Field(ge=1, le=65535)] = 9002
    """Port of that Service, for Envoy's external processing (gRPC)."""
    failure_mode: Literal["FailOpen", "FailClose"] = "FailOpen"
    """What the Gateway does with requests while the picker does not answer. FailOpen: it chooses a server itself.
    FailClose: it refuses them. A proxy has a setting of its own for that."""
    proxy: PickerProxy | None = None
    """For a Gateway that knows no InferencePools: the route leads to this proxy, which asks the picker."""


class Gateway(ApiModel):
    """An HTTPRoute from a Gateway to the Service. Of the servers' paths it leads to those under /v1 alone."""

    model_config = {
        "json_schema_extra": rules(
            rule(
                "!has(self.header) || !(self.header.name.lowerAscii() in ['host', 'authorization'])",
                "header must be neither Host nor Authorization: hostnames are for the first, and keys are no names",
            )
        )
    }

    parent_ref: GatewayRef
    """The Gateway."""
    hostnames: Annotated[list[Hostname], Field(max_length=16, json_schema_extra=SET_LIST)] = []
    """Names that clients call it by. Default: those of the listeners."""
    path_prefix: (
        Annotated[
            str,
            StringConstraints(min_length=2, max_length=253, pattern=r"^(/[A-Za-z0-9][-A-Za-z0-9._~]*)+$"),
        ]
        | None
    ) = None
    """Path of this model where several share a hostname, like /qwen3-8b: /qwen3-8b/v1 is its OpenAI API. The servers
    do not see it."""
    header: GatewayHeader | None = None
    """Header that leads to this model where several share a hostname, on the plain path /v1. With pathPrefix too:
    either of the two leads here."""
    endpoint_picker: EndpointPicker | None = None
    """Have it choose the server: the route leads to an InferencePool of the servers in the place of the Service, or to
    the picker's proxy. The operator makes the pool where the chart was installed with gateway.endpointPicker."""
