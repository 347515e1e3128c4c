"""The Job of a Qwen3Batch: vLLM's image, the runner, and one index for each shard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from qwen3_in_engine.batch_runner.contract import KEY_VARIABLE, METRICS_PORT, PERMANENT
from qwen3_operator.api import API_VERSION
from qwen3_operator.api.batch import Qwen3Batch, Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.batch_config import CONFIG_KEY, MAIN, PROMPTS_KEY, runner_items
from qwen3_operator.desired.patch import patched
from qwen3_operator.desired.pod import CONTAINER_SECURITY, claim_volume, pod_security, pull_secrets, secret_env
from qwen3_operator.desired.server import CONTAINER, GROUP, SCRATCH, USER, engine_environment, engine_resources
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import (
    BATCH_DIR,
    BATCH_INPUT_DIR,
    BATCH_OUTPUT_DIR,
    MODELS_DIR,
    TEMPLATE_DIR,
    TEMPLATE_FILE,
    batch_labels,
    digest,
    owner_reference,
)
from qwen3_operator.plan.batch import INPUT_FILE, BatchPlan
from qwen3_operator.settings import Settings

QUEUE_PREFIX = "kueue.x-k8s.io/"
QUEUE_LABEL = f"{QUEUE_PREFIX}queue-name"
GRACE_SECONDS = 60
"""What is finished is on the volume already; this is for the engine to end."""
ASKING = {"cpu": "500m", "memory": "1Gi"}
"""Requests of a pod that only asks servers: the lines in flight, and a part of the input."""
NO_DEADLINE = 2**31 - 1
"""A deadline that is taken away from a Job: a field that a Job has can be changed, not left out."""


def job_name(name: str, uid: str, spec: Qwen3BatchSpec, ended: Mapping[str, Any] | None = None) -> str:
    """Name of the Job as it is made, with a hash of the spec: a Job that replaces another has another name, also one
    that has `ended` and goes on. A Job that exists is never found by this name, but by its controller."""
    changeable = {"suspend", "parallelism"}
    of = [uid, spec.model_dump(by_alias=True, exclude_defaults=True, exclude=changeable)]
    return f"{name}-{digest([*of, ended['metadata']['uid']] if ended else of)}"


def queue_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of a Qwen3Batch that Kueue reads on the Job."""
    return {key: value for key, value in labels.items() if key.startswith(QUEUE_PREFIX)}


def batch_job(
    meta: Mapping[str, Any],
    spec: Qwen3BatchSpec,
    server: Qwen3DeploymentSpec,
    plan: BatchPlan,
    config_map: str,
    settings: Settings,
) -> dict[str, Any]:
    """The Job of the Qwen3Batch with metadata `meta`, as it is made. Raises PatchError for a podTemplatePatch that
    cannot be merged."""
    name, labels = meta["name"], batch_labels(meta["name"])
    template = {
        "metadata": {"labels": labels, "annotations": {"kubectl.kubernetes.io/default-container": CONTAINER}},
        "spec": _pod(spec, server, plan, config_map, settings),
    }
    template = patched(template, server.pod_template_patch)
    template["metadata"]["labels"] = (template["metadata"].get("labels") or {}) | labels
    job: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": spec.completions,
        "parallelism": spec.parallelism,
        "suspend": spec.suspend,
        "backoffLimitPerIndex": spec.backoff_limit,
        "ttlSecondsAfterFinished": spec.ttl_seconds_after_finished,
        # One writer for each shard: a new pod waits until the old one is gone.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                # Of the input, the output or the arguments: the other shards have the same.
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(PERMANENT)},
                },
            ]
        },
        "template": template,
    }
    if spec.active_deadline_seconds is not None:
        job["activeDeadlineSeconds"] = spec.active_deadline_seconds
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": job_name(name, meta["uid"], spec),
            "labels": labels | queue_labels(meta.get("labels") or {}),
            "ownerReferences": [owner_reference(Qwen3Batch.KIND, API_VERSION, name, meta["uid"], controller=True)],
        },
        "spec": job,
    }


def in_queue(job: Mapping[str, Any]) -> bool:
    """Whether a queue decides when the Job runs."""
    return QUEUE_LABEL in (job["metadata"].get("labels") or {})


def changeable(spec: Qwen3BatchSpec, job: Mapping[str, Any], *, pause: bool = False) -> dict[str, Any]:
    """What may change in the spec of a `job` that goes on, as the Qwen3Batch wants it. `pause`: it waits for
    servers."""
    live, wanted = job["spec"], {"parallelism": spec.parallelism, "suspend": spec.suspend or pause}
    if spec.active_deadline_seconds is not None or "activeDeadlineSeconds" in live:
        wanted["activeDeadlineSeconds"] = spec.active_deadline_seconds or NO_DEADLINE
    if in_queue(job):
        wanted.pop("suspend", None)
    return wanted | {"ttlSecondsAfterFinished": spec.ttl_seconds_after_finished}


def kept(job: Mapping[str, Any], seconds: int | None = None) -> dict[str, Any]:
    """The same of a `job` that has ended: all is as it was, but for how many `seconds` it is kept."""
    names = {"parallelism", "suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished"}
    if in_queue(job):
        names.remove("suspend")
    wanted = {name: job["spec"][name] for name in sorted(names) if name in job["spec"]}
    return wanted if seconds is None else wanted | {"ttlSecondsAfterFinished": seconds}


def unchangeable(spec: Qwen3BatchSpec, job: Mapping[str, Any]) -> list[Problem]:
    """What a running `job` keeps although the Qwen3Batch wants something else."""
    found, tries = [], job["spec"].get("backoffLimitPerIndex", spec.backoff_limit)
    if tries != spec.backoff_limit:
        words = f"the Job keeps the backoffLimit {tries} that it was made with: Kubernetes does not change it"
        found.append(Problem(Reason.FIXED_IN_JOB, words, "spec.backoffLimit", "warning"))
    if in_queue(job) and spec.suspend and not job["spec"].get("suspend"):
        words = "spec.suspend does not count any more: the queue decides when the Job runs"
        found.append(Problem(Reason.FIXED_IN_JOB, words, "spec.suspend", "warning"))
    return found


def nodes_of(job: Mapping[str, Any]) -> tuple[Mapping[str, str], str]:
    """Labels of the nodes that the pods of a Job ask for, and their resource name of a GPU."""
    limits = (_container(job).get("resources") or {}).get("limits") or {}
    devices = sorted((name for name in limits if "/" in name), key=lambda name: (not name.endswith("gpu"), name))
    return job["spec"]["template"]["spec"].get("nodeSelector") or {}, devices[0] if devices else ""


def mounts_of(job: Mapping[str, Any], paths: Collection[str]) -> list[Mapping[str, Any]]:
    """What the container of a Job's pods has at these paths: a podTemplatePatch may put another volume there."""
    return [mount for mount in _container(job).get("volumeMounts") or [] if mount["mountPath"] in paths]


def output_claim(job: Mapping[str, Any]) -> str:
    """The claim that the output of a Job is on; empty where a podTemplatePatch has put it on a volume without one."""
    return str((_volume_at(job, BATCH_OUTPUT_DIR).get("persistentVolumeClaim") or {}).get("claimName", ""))


def config_map_of(job: Mapping[str, Any]) -> str:
    """The ConfigMap that a Job's runner comes from."""
    return str((_volume_at(job, BATCH_DIR).get("configMap") or {}).get("name", ""))


def _volume_at(job: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    mounted = {mount["name"] for mount in mounts_of(job, {path})}
    return next((v for v in job["spec"]["template"]["spec"].get("volumes") or [] if v["name"] in mounted), {})


def _container(job: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((c for c in job["spec"]["template"]["spec"].get("containers") or [] if c["name"] == CONTAINER), {})


def _pod(
    spec: Qwen3BatchSpec, server: Qwen3DeploymentSpec, plan: BatchPlan, config_map: str, settings: Settings
) -> dict[str, Any]:
    frozen = _frozen_claims(spec, plan)
    volumes: list[dict[str, Any]] = [
        {"name": "runner", "configMap": {"name": config_map, "items": runner_items()}},
        _input(spec, config_map, frozen),
        claim_volume("output", spec.output.claim.name),
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "runner", "mountPath": BATCH_DIR, "readOnly": True},
        {"name": "input", "mountPath": BATCH_INPUT_DIR, "readOnly": True},
        {"name": "output", "mountPath": BATCH_OUTPUT_DIR},
    ]
    volumes += [{"name": volume, "emptyDir": {}} for volume in SCRATCH]
    mounts += [{"name": volume, "mountPath": path} for volume, path in SCRATCH.items()]
    if not plan.runner.url:
        _add_engine(volumes, mounts, server, plan, frozen)
    return {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(USER, GROUP, settings),
        **pull_secrets(settings.image_pull_secrets),
        **server.scheduling.pod_fields(server=not plan.runner.url),
        "containers": [
            {
                "name": CONTAINER,
                "image": plan.engine.image,
                "command": ["python3", MAIN],
                "args": [f"{BATCH_DIR}/{CONFIG_KEY}"],
                "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}, *_environment(server, plan)],
                "ports": [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
                "resources": _resources(server, plan),
                "securityContext": CONTAINER_SECURITY,
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


def _add_engine(
    volumes: list[dict[str, Any]],
    mounts: list[dict[str, Any]],
    server: Qwen3DeploymentSpec,
    plan: BatchPlan,
    frozen: Collection[str],
) -> None:
    """What an engine of the pod's own needs: the weights, /dev/shm, the chat template."""
    volumes.insert(0, claim_volume("models", plan.engine.claim, read_only=plan.engine.claim in frozen))
    mounts.insert(0, {"name": "models", "mountPath": MODELS_DIR, "readOnly": True})
    volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": plan.engine.shm_size}})
    mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if template := server.engine.chat_template:
        reference = template.config_map_key_ref
        items = [{"key": reference.key, "path": TEMPLATE_FILE}]
        volumes.append({"name": "chat-template", "configMap": {"name": reference.name, "items": items}})
        mounts.append({"name": "chat-template", "mountPath": TEMPLATE_DIR, "readOnly": True})


def _environment(server: Qwen3DeploymentSpec, plan: BatchPlan) -> list[dict[str, Any]]:
    if not plan.runner.url:
        return engine_environment(server, plan.engine)
    key = server.auth.api_key_secret_ref if server.auth else None
    return [secret_env(KEY_VARIABLE, key.name, key.key)] if key else []


def _resources(server: Qwen3DeploymentSpec, plan: BatchPlan) -> dict[str, Any]:
    if not plan.runner.url:
        return engine_resources(server, plan.engine)
    limits = {"limits": dict(server.resources.limits)} if server.resources.limits else {}
    return {"requests": ASKING | server.resources.requests} | limits


def _frozen_claims(spec: Qwen3BatchSpec, plan: BatchPlan) -> set[str]:
    """Claims of others that the pods only read. A pod has a claim once, whatever volumes of it there are."""
    read = {spec.input.claim.name} if spec.input.claim else set()
    ours = {spec.output.claim.name}
    (read if plan.engine.claim_is_others else ours).add(plan.engine.claim)
    return read - ours


def _input(spec: Qwen3BatchSpec, config_map: str, frozen: Collection[str]) -> dict[str, Any]:
    """The volume of the input."""
    if claim := spec.input.claim:
        return claim_volume("input", claim.name, read_only=claim.name in frozen)
    if reference := spec.input.config_map_key_ref:
        name, key = reference.name, reference.key
    else:
        name, key = config_map, PROMPTS_KEY
    return {"name": "input", "configMap": {"name": name, "items": [{"key": key, "path": INPUT_FILE}]}}
