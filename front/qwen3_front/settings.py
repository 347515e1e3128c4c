"""The front's settings, read from `QWEN3_FRONT_*` environment variables (the chart's values set them)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from qwen3_front.contract import ADMIN_PORT, FIRST_PORT, PORTS
from qwen3_operator.controller.environment import from_environment

PREFIX = "QWEN3_FRONT_"
Port = Annotated[int, Field(ge=0, le=65535)]
MIB = 1 << 20


class Settings(BaseModel):
    """Settings of one front; the environment variable of `hold_seconds` is `QWEN3_FRONT_HOLD_SECONDS`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    namespaces: tuple[str, ...] = ()
    """Namespaces of the deployments, comma-separated. Empty: all."""
    host: str = ""
    """Address to listen on. Empty: all of them."""
    first_port: Port = FIRST_PORT
    """The first of the ports that deployments have."""
    ports: Annotated[int, Field(ge=1, le=10_000)] = PORTS
    """How many deployments can hold requests."""
    admin_port: Port = ADMIN_PORT
    """Port of /healthz, /readyz, /metrics and /waiting. 0: a free one."""
    hold_seconds: Annotated[float, Field(gt=0, le=86_400)] = 600
    """A request that no server took by then is answered with 503."""
    max_waiting: Annotated[int, Field(ge=1)] = 1000
    """Requests of a deployment that may wait; one more is answered with 429."""
    max_body_mib: Annotated[int, Field(ge=1, le=1024)] = 16
    """The largest body of a request; a larger one is answered with 413."""
    max_bytes_mib: Annotated[int, Field(ge=1, le=1 << 20)] = 32
    """Bodies of a deployment's waiting requests together."""
    max_total_mib: Annotated[int, Field(ge=1, le=1 << 20)] = 64
    """Bodies of all waiting requests together."""
    max_connections: Annotated[int, Field(ge=1)] = 4096
    """Connections of clients at the same time."""
    max_per_server: Annotated[int, Field(ge=1)] = 256
    """Requests that a server is given at the same time. It begins with a few, and gets more as it answers."""
    drain_seconds: Annotated[float, Field(ge=0, le=86_400)] = 630
    """After SIGTERM, how long requests that are here have to end."""
    log_format: Literal["text", "json"] = "text"
    """How log lines are written."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level of log lines."""

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _are_ports(self) -> Self:
        if self.first_port + self.ports > 65536:
            raise ValueError("first_port and ports go beyond 65535")
        return self

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read every `QWEN3_FRONT_*` variable. Raises SettingsError for an unknown or a bad one."""
        return from_environment(cls, PREFIX, environ)
