"""The route from a Gateway of the cluster (Gateway API) to the servers."""

from __future__ import annotations

from typing import Annotated

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
