"""The Jobs of a Qwen3Model: all run the downloader's program, each for one step of the model's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.model import Qwen3Model, Qwen3ModelSpec
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.desired.pod import CONTAINER_SECURITY, claim_volume, pod_security, pull_secrets, secret_env
from qwen3_operator.naming import (
    CA_DIR,
    CA_FILE,
    DEPLOYMENT_LABEL,
    MODELS_DIR,
    claim_name,
    digest,
    model_labels,
    model_path,
    owner_reference,
)
from qwen3_operator.plan.endpoint import hub_of, sends_token_in_clear
from qwen3_operator.settings import Settings

Object = Mapping[str, Any]
CONTAINER = "download"
USER, GROUP = 65532, 2000
"""The downloader's user, and the group that servers share with it (vllm's own user is 2000 in the official image)."""

REQUESTS = {"cpu": "500m", "memory": "256Mi"}
LIMITS = {"memory": "1Gi"}
"""The page cache counts too, and is given back."""

PERMANENT_EXITS = [2, 10, 11, 12, 13, 20]
"""Exit codes of qwen3-download that another try at once does not mend."""
TRIES = 6
"""Pods of one Job; a pod continues where the one before stopped."""
KEEP_FINISHED_SECONDS = 24 * 3600
MOST_BESIDE = 100
"""Qwen3Deployments whose node a Job prefers."""


class Step(StrEnum):
    """What a Job does."""

    LIST = "list"
    """Ask the hub how large the repository is. No volume."""
    DOWNLOAD = "download"
    REPAIR = "repair"
    """Verify a copy that was complete, and fetch again what is not right any more."""
    CHECK = "check"
    """Verify what is on a claim that was there before. Writes nothing."""
    REMOVE = "remove"
    """Free a folder that no server uses any more."""


def model_job(
    namespace: str,
    name: str,
    uid: str,
    spec: Qwen3ModelSpec,
    settings: Settings,
    step: Step,
    *,
    causes: Sequence[str] = (),
    beside: Sequence[str] = (),
    revision: str = "",
    path: str = "",
) -> dict[str, Any]:
    """The Job of the Qwen3Model `name` for one step. Its name holds a hash of what it does, since a Job's template
    cannot change.

    `causes`: what else makes a new Job when it changes, because a failure may be mended by it: the claim's uid and
    size, the Secret's and the ConfigMap's resourceVersion, when the copy that is doubted was verified. `beside`:
    Qwen3Deployments whose servers may run on the volume now; the Job prefers their node, and is the same Job whoever
    they are. `revision`, `path`: what REMOVE frees.
    """
    pod = spec.download.pod
    labels = {key: value for key, value in pod.labels.items() if key not in model_labels(name)}
    template: dict[str, Any] = {
        "metadata": {
            "labels": labels | model_labels(name),
            **({"annotations": pod.annotations} if pod.annotations else {}),
        },
        "spec": _pod(name, spec, settings, step, revision, path),
    }
    unique = digest([template, *causes])
    if beside and step is not Step.LIST:
        template["spec"]["affinity"] = _beside(beside, template["spec"].get("affinity") or {})
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"{name}-{unique}",
            "labels": model_labels(name),
            "ownerReferences": [owner_reference(Qwen3Model.KIND, API_VERSION, name, uid, controller=True)],
        },
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": TRIES,
            "ttlSecondsAfterFinished": KEEP_FINISHED_SECONDS,
            # One writer at a time: a new pod waits until the old one is gone.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": PERMANENT_EXITS},
                    },
                ]
            },
            "template": template,
        },
    }


def fetches_another(job: Object, spec: Qwen3ModelSpec) -> bool:
    """Whether a Job of a Qwen3Model fetches another folder than that of its present spec."""
    pod = ((job.get("spec") or {}).get("template") or {}).get("spec") or {}
    said = {word for container in pod.get("containers") or () for word in container.get("args") or ()}
    return not said & {_target(model_path(spec)), *_MODES[Step.REMOVE]}


def ca_bundle(spec: Qwen3ModelSpec, settings: Settings) -> tuple[str, str] | None:
    """ConfigMap and key of the certificates that the Job trusts; None: the public ones."""
    if theirs := spec.download.ca_bundle_config_map_key_ref:
        return theirs.name, theirs.key
    return (settings.ca_bundle_config_map, settings.ca_bundle_key) if settings.ca_bundle_config_map else None


def _pod(name: str, spec: Qwen3ModelSpec, settings: Settings, step: Step, revision: str, path: str) -> dict[str, Any]:
    pod = spec.download.pod
    mounts: list[dict[str, Any]] = []
    volumes: list[dict[str, Any]] = []
    if step is not Step.LIST:
        frozen = step is Step.CHECK
        mounts.append({"name": "models", "mountPath": MODELS_DIR} | ({"readOnly": True} if frozen else {}))
        volumes.append(claim_volume("models", claim_name(name, spec), read_only=frozen))
    mounts.append({"name": "tmp", "mountPath": "/tmp"})
    volumes.append({"name": "tmp", "emptyDir": {}})
    if bundle := ca_bundle(spec, settings) if step is not Step.REMOVE else None:
        mounts.append({"name": "ca", "mountPath": CA_DIR, "readOnly": True})
        volumes.append({"name": "ca", "configMap": {"name": bundle[0], "items": [{"key": bundle[1], "path": CA_FILE}]}})
    return {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(USER, GROUP, settings, pod),
        **pull_secrets(settings.image_pull_secrets),
        **spec.scheduling.pod_fields(server=False),
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.downloader_image,
                "args": _arguments(spec, settings, step, revision or spec.revision, path or model_path(spec)),
                "env": _environment(spec, settings, step),
                "resources": {
                    "requests": REQUESTS | pod.resources.requests,
                    "limits": LIMITS | pod.resources.limits,
                },
                "securityContext": CONTAINER_SECURITY,
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _beside(servers: Sequence[str], affinity: dict[str, Any]) -> dict[str, Any]:
    """`affinity` and a preference for the node of these servers: there a ReadWriteOnce volume is attached."""
    some = sorted(servers)[:MOST_BESIDE]
    selector = {"matchExpressions": [{"key": DEPLOYMENT_LABEL, "operator": "In", "values": some}]}
    near = {"weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector}}
    pods = affinity.get("podAffinity") or {}
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    return affinity | {"podAffinity": pods | {key: [*(pods.get(key) or []), near]}}


_MODES = {
    Step.LIST: ["--list"],
    Step.DOWNLOAD: [],
    Step.REPAIR: ["--verify"],
    Step.CHECK: ["--existing"],
    Step.REMOVE: ["--remove"],
}


def _arguments(spec: Qwen3ModelSpec, settings: Settings, step: Step, revision: str, path: str) -> list[str]:
    mode = _MODES[step]
    target = [] if step is Step.LIST else [_target(path)]
    options, wanted = spec.download, []
    if options.allow_patterns:
        wanted.append(f"--allow={','.join(options.allow_patterns)}")
    if options.ignore_patterns:
        wanted.append(f"--ignore={','.join(options.ignore_patterns)}")
    if options.bytes_per_second is not None:
        wanted.append(f"--limit-rate={int(quantity(options.bytes_per_second))}")
    if options.max_connections is not None:
        wanted.append(f"--max-workers={options.max_connections}")
    if spec.adapter_of is not None and step is not Step.REMOVE:
        wanted.append("--adapter")
    if step is not Step.REMOVE and sends_token_in_clear(spec, settings):
        wanted.append("--allow-http-token")
    return [
        f"--model={spec.id}",
        f"--revision={revision}",
        f"--endpoint={hub_of(spec, settings)}",
        *target,
        *mode,
        *wanted,
        "--json",
    ]


def _target(path: str) -> str:
    return f"--target={'/'.join(part for part in (MODELS_DIR, path) if part)}"


def _environment(spec: Qwen3ModelSpec, settings: Settings, step: Step) -> list[dict[str, Any]]:
    env: list[dict[str, Any]] = [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONUNBUFFERED", "value": "1"}]
    if step is Step.REMOVE:  # asks no hub: it must not wait for a Secret that is gone
        return env
    env += _proxies(settings)
    if ca_bundle(spec, settings):
        env.append({"name": "REQUESTS_CA_BUNDLE", "value": f"{CA_DIR}/{CA_FILE}"})
    if spec.token_secret_ref:
        env.append(secret_env("MODELSCOPE_API_TOKEN", spec.token_secret_ref.name, spec.token_secret_ref.key))
    return env


def _proxies(settings: Settings) -> list[dict[str, Any]]:
    """Variables of the proxies: as set, else from the Secret where there is one; that may lack some of them."""
    said = {"HTTP_PROXY": settings.http_proxy, "HTTPS_PROXY": settings.https_proxy, "NO_PROXY": settings.no_proxy}
    env: list[dict[str, Any]] = []
    for name, value in said.items():
        if value:
            env.append({"name": name, "value": value})
        elif settings.proxy_secret:
            env.append(secret_env(name, settings.proxy_secret, name, optional=True))
    return env
