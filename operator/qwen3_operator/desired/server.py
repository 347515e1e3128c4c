"""The Deployment of vLLM servers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

from qwen3_in_engine.server.contract import KEYS_VARIABLE, LIMITS_VARIABLE, VARIABLE
from qwen3_operator.api.deployment import Qwen3DeploymentSpec, Rollout
from qwen3_operator.desired import adapters, capacity, in_engine, keys
from qwen3_operator.desired.autoscaling import KEDA, SCALED_BY
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.desired.compile_cache import cache_claim_name
from qwen3_operator.desired.disruption import spread
from qwen3_operator.desired.made_from import ANNOTATION as MADE_FROM
from qwen3_operator.desired.made_from import MadeFrom
from qwen3_operator.desired.patch import PatchError, patched
from qwen3_operator.desired.pod import CONTAINER_SECURITY, claim_volume, pod_security, pull_secrets, secret_env
from qwen3_operator.desired.rollout import RolledBack, strategy
from qwen3_operator.desired.service import PORT_NAME
from qwen3_operator.engine.lora import lora_in
from qwen3_operator.naming import (
    MIDDLEWARE,
    MODELS_DIR,
    TEMPLATE_DIR,
    TEMPLATE_FILE,
    digest,
    server_labels,
    server_selector,
)
from qwen3_operator.plan import Plan
from qwen3_operator.plan.middleware import SETTLE_SECONDS
from qwen3_operator.settings import Settings

CONTAINER = "vllm"
PORT = 8000
USER = GROUP = 2000
"""vLLM's own user in the official image since 2026; HOME and USER below let any other image run with it too."""

PROBE_PERIOD = 5
HANG_SECONDS = 15
"""Between vLLM's own drain limit and the SIGKILL."""

# Paths inside the container. Both are writable volumes of the pod.
_HOME, _CACHE = "/home/vllm", "/home/vllm/.cache"
SCRATCH = {"home": _HOME, "tmp": "/tmp"}


def server_template(name: str, spec: Qwen3DeploymentSpec, plan: Plan, settings: Settings) -> dict[str, Any]:
    """The pod template of the servers of `name`. Raises PatchError for a podTemplatePatch that cannot be merged."""
    annotations = {"kubectl.kubernetes.io/default-container": CONTAINER} | plan.pod_annotations
    made = {
        "metadata": {"labels": server_labels(name), "annotations": annotations},
        "spec": _pod(name, spec, plan, settings),
    }
    template = patched(made, spec.pod_template_patch)
    if spec.auth and spec.auth.keys and not _asks_for_keys(made, template):
        raise PatchError(
            "it takes from the server what asks for the keys of spec.auth.keys: command, middleware or mounts"
        )
    # The selector's labels are not the patch's to take away.
    template["metadata"]["labels"] = (template["metadata"].get("labels") or {}) | server_selector(name)
    return template


def server_deployment(
    namespace: str,
    name: str,
    uid: str,
    replicas: int | None,
    made_from: MadeFrom,
    rollout: Rollout,
    *,
    delete_first: bool = False,
    refused: RolledBack | None = None,
) -> dict[str, Any]:
    """The Deployment of the Qwen3Deployment `name`. `replicas`: None where an autoscaler sets them. `delete_first`: a
    new server has no room beside the old ones. `refused`: a spec whose servers failed."""
    annotations = {MADE_FROM: made_from.written()} | (refused.written() if refused else {})
    counted = {"replicas": replicas} if replicas is not None else {}
    return {
        "metadata": child_metadata(namespace, name, uid)
        | {"annotations": annotations | ({} if counted else {SCALED_BY: KEDA})},
        "spec": {
            **counted,
            "revisionHistoryLimit": 3,
            "strategy": strategy(rollout, delete_first=delete_first),
            "progressDeadlineSeconds": rollout.progress_deadline_seconds or _progress_seconds(made_from),
            "selector": {"matchLabels": server_selector(name)},
            "template": made_from.template,
        },
    }


_LENGTH = re.compile(r"[0-9]{1,9}")


def _progress_seconds(made_from: MadeFrom) -> int:
    """The longest start that is no failure, what it measures, and ten minutes."""
    benchmark = capacity.benchmark_in(made_from.template)
    return made_from.plan.startup_seconds + (benchmark.max_seconds if benchmark else 0) + 600


def length_in(template: Mapping[str, Any]) -> int | None:
    """The maxModelLen in a pod template of servers."""
    for container in template["spec"]["containers"]:
        words = container.get("args") or ()
        for flag, value in itertools.pairwise(words):
            if container.get("name") == CONTAINER and flag == "--max-model-len" and _LENGTH.fullmatch(str(value)):
                return int(value)
    return None


def _asks_for_keys(made: Mapping[str, Any], template: Mapping[str, Any]) -> bool:
    """Whether a patched pod has all by which a server asks for keys."""
    (ours,) = made["spec"]["containers"]
    patched_ones = (c for c in template["spec"].get("containers") or () if c.get("name") == CONTAINER)
    if (container := next(patched_ones, None)) is None:
        return False
    words = container.get("args") or []
    flag = any(pair == ("--middleware", MIDDLEWARE) for pair in itertools.pairwise(words))
    has = {what: container.get(what) or [] for what in ("env", "volumeMounts")}
    needs = {
        "env": [it for it in ours["env"] if it["name"] in (VARIABLE, KEYS_VARIABLE, LIMITS_VARIABLE)],
        "volumeMounts": [it for it in ours["volumeMounts"] if it["name"] in (in_engine.VOLUME, *keys.VOLUMES)],
    }
    volumes = template["spec"].get("volumes") or []
    kept = all(it in volumes for it in made["spec"]["volumes"] if it["name"] in (in_engine.VOLUME, *keys.VOLUMES))
    same = all(it in has[what] for what, items in needs.items() for it in items)
    return flag and kept and same and container.get("command") == ours["command"]


def _pod(name: str, spec: Qwen3DeploymentSpec, plan: Plan, settings: Settings) -> dict[str, Any]:
    mounts = [{"name": "models", "mountPath": MODELS_DIR, "readOnly": True}, {"name": "shm", "mountPath": "/dev/shm"}]
    mounts += [{"name": volume, "mountPath": path} for volume, path in SCRATCH.items()]
    volumes: list[dict[str, Any]] = [
        claim_volume("models", plan.claim, read_only=plan.claim_is_others),
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": plan.shm_size}},
    ]
    volumes += [{"name": volume, "emptyDir": {}} for volume in SCRATCH]
    if spec.engine.compile_cache and spec.engine.compile_cache.enabled:
        volumes.append(claim_volume("compile-cache", cache_claim_name(name)))
        # A folder for each image and command: vLLM keys its cache too, but does not clean up behind itself.
        key = digest([plan.image, plan.command])
        mounts.append({"name": "compile-cache", "mountPath": f"{_CACHE}/vllm", "subPath": key})
    if template := spec.engine.chat_template:
        reference = template.config_map_key_ref
        items = [{"key": reference.key, "path": TEMPLATE_FILE}]
        volumes.append({"name": "chat-template", "configMap": {"name": reference.name, "items": items}})
        mounts.append({"name": "chat-template", "mountPath": TEMPLATE_DIR, "readOnly": True})
    if plan.server:
        volumes.append(in_engine.volume(name, measures=bool(plan.benchmark)))
        mounts.append({"name": in_engine.VOLUME, "mountPath": in_engine.IN_ENGINE_DIR, "readOnly": True})
    volumes += keys.volumes(name, spec.auth)
    mounts += keys.mounts(spec.auth)
    if _has_adapters(plan):
        volumes += adapters.volumes(name)
        mounts += adapters.mounts()
    volumes += capacity.volumes(name, plan)
    mounts += capacity.mounts(plan)
    return {
        "enableServiceLinks": False,  # a Service called vllm would set VLLM_PORT to a URL
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": SETTLE_SECONDS + plan.drain_seconds + HANG_SECONDS,
        "securityContext": pod_security(USER, GROUP, settings),
        **pull_secrets(settings.image_pull_secrets),
        **spec.scheduling.pod_fields(server=True),
        **spread(name, spec),
        "containers": [
            {
                "name": CONTAINER,
                "image": plan.image,
                "command": [*in_engine.COMMAND, *plan.command[:2]] if plan.server else list(plan.command[:2]),
                "args": list(plan.command[2:]),
                "env": engine_environment(spec, plan),
                "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
                "resources": engine_resources(spec, plan),
                "securityContext": CONTAINER_SECURITY,
                **_probes(plan),
                "lifecycle": {"preStop": _pre_stop(plan)},
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _has_adapters(plan: Plan) -> bool:
    """Whether servers of a plan follow the list of adapters."""
    return bool(plan.server) and lora_in(plan.command) is not None


def _probes(plan: Plan) -> dict[str, Any]:
    if plan.server:
        return in_engine.probes(plan.startup_seconds)
    return {
        "startupProbe": _health(period=PROBE_PERIOD, failures=-(-plan.startup_seconds // PROBE_PERIOD)),
        "readinessProbe": _health(period=PROBE_PERIOD, failures=3),
        "livenessProbe": _health(period=10, failures=6),
    }


def _pre_stop(plan: Plan) -> dict[str, Any]:
    if plan.server:
        return in_engine.pre_stop(PORT, plan.drain_seconds)
    # vLLM answers new requests with 500 once it drains, so a pod leaves the endpoints before it gets SIGTERM.
    return {"sleep": {"seconds": SETTLE_SECONDS}}


def _health(*, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": "/health", "port": PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def engine_environment(spec: Qwen3DeploymentSpec, plan: Plan) -> list[dict[str, Any]]:
    """Environment of a container that runs vLLM: ours, and the user's, which wins."""
    ours: list[dict[str, Any]] = [
        {"name": name, "value": value}
        for name, value in {
            "HOME": _HOME,
            "USER": "vllm",  # a user id without a name makes Python's getpass fail on import of torch
            "XDG_CACHE_HOME": _CACHE,
            "VLLM_CACHE_ROOT": f"{_CACHE}/vllm",
            # The weights are on the volume: nothing is asked of a hub, nothing is reported home.
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        }.items()
    ]
    if spec.auth and (key := spec.auth.api_key_secret_ref):
        ours.append(secret_env("VLLM_API_KEY", key.name, key.key))
    theirs = [variable.model_dump(by_alias=True, exclude_none=True) for variable in spec.engine.env]
    if plan.server:
        ours.append({"name": VARIABLE, "value": plan.server})
        ours += keys.variables(spec.auth)
        ours += adapters.variables() if _has_adapters(plan) else []
        ours += capacity.variables(plan)
    named = {variable["name"] for variable in theirs}
    return [variable for variable in ours if variable["name"] not in named] + theirs


def engine_resources(spec: Qwen3DeploymentSpec, plan: Plan) -> dict[str, Any]:
    """Requests and limits of a container that runs vLLM."""
    gpus = {spec.gpu.resource_name: str(plan.gpus)}
    return {
        "requests": {"cpu": plan.cpu, "memory": plan.memory} | spec.resources.requests | gpus,
        "limits": spec.resources.limits | gpus,
    }
