"""The operator's own settings, read from `QWEN3_OPERATOR_*` environment variables (the chart's values set them)."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from qwen3_operator import __version__
from qwen3_operator.controller.environment import from_environment

PREFIX = "QWEN3_OPERATOR_"
ENGINE_IMAGE = "vllm/vllm-openai:v0.33.0"
ANY = "*"
"""Entry of `insecure_endpoints`: all of them."""
_HOST = r"(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])"
_ENTRY = re.compile(rf"(?:https?://)?{_HOST}(?::\d{{1,5}})?", re.IGNORECASE)


class Settings(BaseModel):
    """Settings of one operator process; the environment variable of `http_port` is `QWEN3_OPERATOR_HTTP_PORT`."""

    # A value may be a secret in the wrong place: an error names the variable alone.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    namespaces: tuple[str, ...] = ()
    """Namespaces to serve, comma-separated. Empty: all."""
    engine_image: str = ENGINE_IMAGE
    """Image of the servers where a Qwen3Deployment names none."""
    image_registry: Annotated[str, StringConstraints(pattern=r"^[^\s@]*[^\s@/]$|^$")] = ""
    """Registry that the operator's own choice of `engine_image` is pulled from, like mirror.example:5000/hub: a mirror
    of Docker Hub. An image that somebody names is pulled from where they say."""
    engine_version: Annotated[str, StringConstraints(pattern=r"^([0-9]+\.[0-9]+(\.[0-9]+)?)?$")] = ""
    """vLLM's version in that image, where its tag does not have it: an image by digest, a tag of one's own."""
    engine_host: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:.]+$")] = "0.0.0.0"
    """Address that servers listen on where a Qwen3Deployment names none. `::` for clusters with IPv6."""
    pod_ids: Literal["operator", "platform"] = "operator"
    """Who chooses the user and group ids of servers and Jobs. platform: they are left out, as OpenShift wants it, which
    has a range for each namespace."""
    downloader_image: str = f"localhost/qwen3-downloader:{__version__}"
    """Image of the download Jobs."""
    image_pull_secrets: tuple[str, ...] = ()
    """Pull secrets of servers and Jobs, comma-separated names."""
    hub_endpoint: str = "https://modelscope.cn"
    """Base URL of the hub where a model names none."""
    insecure_endpoints: tuple[str, ...] = ()
    """Hubs that tokens may be sent to over http://, comma-separated: HOST, HOST:PORT or http://HOST:PORT. `*`: all."""
    token_endpoints: tuple[str, ...] = ()
    """The only hubs that tokens may be sent to, comma-separated: HOST, HOST:PORT or SCHEME://HOST:PORT. Empty: every
    https:// one."""
    read_secrets: bool = False
    """Read the Secrets that objects name (RBAC: get): a missing one is named before a pod waits for it, a changed token
    starts a download anew at once, and one that servers have in a variable makes new servers. Without it the kubelet's
    words say what is missing."""
    read_cluster: bool = True
    """Read what belongs to no namespace: nodes and StorageClasses. Without it nothing is known of the GPUs but what
    spec.gpu says, and a claim that cannot grow is noticed when the API server refuses."""
    gateway: bool = False
    """Make the HTTPRoutes that objects ask for (spec.service.gateway; RBAC: httproutes)."""
    endpoint_picker: bool = False
    """Make the InferencePools that their routes ask for (spec.service.gateway.endpointPicker; RBAC: inferencepools)."""
    http_proxy: str = ""
    """Proxy of the download Jobs for http:// addresses, without user and password."""
    https_proxy: str = ""
    """Proxy of the download Jobs for https:// addresses, without user and password."""
    no_proxy: str = ""
    """Hosts that download Jobs reach without a proxy, comma-separated."""
    proxy_secret: Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")] = ""
    """Secret in the namespace of each download Job with the keys HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as far as
    needed: for proxies that want a password. In the place of http_proxy and https_proxy."""
    ca_bundle_config_map: str = ""
    """ConfigMap with the certificates that download Jobs trust, in the namespace of each. Empty: the public ones."""
    ca_bundle_key: str = "ca.crt"
    """Key of the certificates in that ConfigMap."""
    download_retry_seconds: Annotated[float, Field(gt=0)] = 15
    """A download that failed is tried again after this time, then after twice that, and so on up to 60 times that."""
    prometheus_address: Annotated[str, StringConstraints(pattern=r"^(https?://[^\s@]+)?$")] = ""
    """Prometheus that KEDA asks for the load of the servers, like http://prometheus.monitoring.svc:9090. Empty: there
    is no KEDA, and spec.autoscaling has no effect."""
    front_service: Annotated[str, StringConstraints(pattern=r"^([a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9]*)?$")] = ""
    """Service of the front, as NAMESPACE/NAME: it holds requests while no server is ready. Empty: there is none."""
    front_first_port: Annotated[int, Field(ge=1, le=65535)] = 20000
    """The first of the front's ports that deployments have."""
    front_ports: Annotated[int, Field(ge=1, le=10_000)] = 512
    """How many of them there are."""
    cluster_domain: str = "cluster.local"
    """DNS domain of the cluster."""
    workers: Annotated[int, Field(ge=1, le=256)] = 4
    """Keys that are reconciled at the same time. A dozen more: of kinds and namespaces with none, and edits."""
    resync_seconds: Annotated[float, Field(gt=0)] = 600
    """Every object is reconciled again after this time, spread over a quarter of it more."""
    http_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """Port of /healthz, /readyz and /metrics. 0: a free one."""
    http_host: str = "0.0.0.0"
    """Address of the same."""
    lease_namespace: str = "default"
    """Namespace of the Lease that keeps two operators from working at once."""
    lease_name: str = "qwen3-operator"
    """Name of the Lease. Empty: no Lease."""
    standby: bool = False
    """Several of these processes are meant to run: one that waits for the Lease counts as ready."""
    identity: str = Field(default_factory=socket.gethostname)
    """Holder of the Lease: this process."""
    log_format: Literal["text", "json"] = "text"
    """How log lines are written."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level of log lines."""

    @model_validator(mode="before")
    @classmethod
    def _from_the_mirror(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("image_registry") and "engine_image" not in values:
            return {**values, "engine_image": f"{values['image_registry']}/{ENGINE_IMAGE}"}
        return values

    @field_validator("namespaces", "image_pull_secrets", "insecure_endpoints", "token_endpoints", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("insecure_endpoints", "token_endpoints")
    @classmethod
    def _are_hubs(cls, entries: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        insecure = info.field_name == "insecure_endpoints"
        for entry in entries:
            if entry != ANY and not _ENTRY.fullmatch(entry):
                raise ValueError("write HOST, HOST:PORT or http://HOST:PORT, without a path")
            if insecure and entry.lower().startswith("https:"):
                raise ValueError("https:// is not insecure: leave it out")
            if entry == ANY and not insecure:
                raise ValueError("leave it empty for every https:// hub")
        return entries

    @field_validator("http_proxy", "https_proxy")
    @classmethod
    def _has_no_password(cls, value: str) -> str:
        if "@" in value:
            raise ValueError(
                "has a user or password, which every Job would show: put it into the Secret of proxySecret"
            )
        return value

    @field_validator("proxy_secret")
    @classmethod
    def _stands_alone(cls, value: str, info: ValidationInfo) -> str:
        if value and (info.data.get("http_proxy") or info.data.get("https_proxy")):
            raise ValueError("excludes httpProxy and httpsProxy: put those into the Secret")
        return value

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read every `QWEN3_OPERATOR_*` variable. Raises SettingsError for an unknown or a bad one."""
        return from_environment(cls, PREFIX, environ)
