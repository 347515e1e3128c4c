"""A cluster at one moment, made by the operator's own code: what the commands are shown in tests and pictures."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.api.times import timestamp
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.desired.made_from import MadeFrom
from qwen3_operator.desired.server import server_deployment, server_template
from qwen3_operator.naming import model_labels, model_name, model_path
from qwen3_operator.plan import NodeGpus, Plan, Weights, make_plan
from qwen3_operator.settings import Settings
from qwen3_operator.status.deployment import DeploymentView, deployment_status
from qwen3_operator.status.model import model_status
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.startup import startup_status
from qwen3_operator.status.view import ModelView

Object = dict[str, Any]
NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
NAMESPACE = "team"
GIB = 2**30
TOTAL = 16_393_000_000
SETTINGS = Settings(identity="test", downloader_image="registry.example/qwen3-downloader:0.1.0")
GPUS = NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8)
GOLDEN = Path(__file__).parents[1] / "desired" / "golden"
CONFIG: Object = yaml.safe_load((GOLDEN / "qwen3-8b.config.yaml").read_text())
START_LOG = """\
INFO 11-27 11:58:20 [default_loader.py:308] Loading weights took 11.40 seconds
INFO 11-27 11:58:21 [gpu_model_runner.py:2653] Model loading took 15.2683 GiB and 12.1 seconds
INFO 11-27 11:58:45 [monitor.py:34] torch.compile takes 21.30 s in total
INFO 11-27 11:58:46 [kv_cache_utils.py:1087] GPU KV cache size: 397,568 tokens
INFO 11-27 11:58:53 [gpu_model_runner.py:3480] Graph capturing finished in 6 secs, took 0.61 GiB
INFO 11-27 11:58:54 Application startup complete.
"""


def ago(seconds: float) -> str:
    """So many seconds before NOW."""
    return timestamp(NOW - timedelta(seconds=seconds))


def meta(name: str, seconds: float = 600, **more: Any) -> Object:
    """Metadata of what was made so many seconds ago."""
    return {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "generation": 1,
        "resourceVersion": "7",
        "creationTimestamp": ago(seconds),
    } | more


def spec_of(**fields: Any) -> Qwen3DeploymentSpec:
    """The spec of a Qwen3Deployment of Qwen3-8B."""
    return Qwen3DeploymentSpec.model_validate({"model": {"id": "Qwen/Qwen3-8B"}} | fields)


def claim(name: str, size: str = "22Gi") -> Object:
    """A bound claim of a model."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta(name, labels=model_labels(name)),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        "status": {"phase": "Bound", "capacity": {"storage": size}},
    }


def model(spec: Qwen3DeploymentSpec, *, done: int = TOTAL, users: tuple[str, ...] = ("chat",)) -> Object:
    """The Qwen3Model of a server; its download has got `done` bytes so far."""
    name = model_name(spec.source)
    of = Qwen3ModelSpec.model_validate(spec.source.model_dump(by_alias=True))
    complete = done >= TOTAL
    job = model_job(NAMESPACE, name, f"uid-{name}", of, SETTINGS, Step.DOWNLOAD)
    job["status"] = {"startTime": ago(300)}
    report = {"result": "Complete", "commit": "9c925d64d72725edaf899c6cb9c377fd0709d9c5", "bytes": TOTAL, "files": 14,
              "weightsBytes": 16_381_470_720, "bytesPerSecond": 97_000_000, "config": CONFIG}  # fmt: skip
    if complete:
        job["status"] |= {
            "completionTime": ago(131),
            "conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": ago(131)}],
        }
    progress = {"event": "progress", "bytesDone": done, "bytesTotal": TOTAL, "bytesPerSecond": 97_000_000}
    progress |= {"etaSeconds": round((TOTAL - done) / 97_000_000), "filesDone": 9, "filesTotal": 14}
    ended = {"terminated": {"exitCode": 0, "message": json.dumps(report), "finishedAt": ago(131)}}
    state = ended if complete else {"running": {"startedAt": ago(290)}}
    pod = {
        "metadata": meta(f"{name}-pod", labels=model_labels(name)),
        "spec": {"nodeName": "gpu-1"},
        "status": {
            "phase": "Succeeded" if complete else "Running",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(299)}],
            "containerStatuses": [{"name": "download", "state": state, "restartCount": 0, "ready": not complete}],
        },
    }
    view = ModelView(
        NOW,
        claim=claim(name),
        job=job,
        pods=[PodView(pod)],
        log_tail=json.dumps(progress),
        used_by=users,
        decided_by=f"Qwen3Deployment {users[0]}" if users else "",
        endpoint="https://modelscope.cn",
    )
    stored = of.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    return {
        "apiVersion": API_VERSION,
        "kind": "Qwen3Model",
        "metadata": meta(name),
        "spec": stored,
        "status": model_status(name, of, 1, {}, view),
    }


def plan_of(spec: Qwen3DeploymentSpec) -> Plan:
    """The operator's plan."""
    facts = ModelFacts.from_config(CONFIG, 16_381_470_720, None)
    weights = Weights(model_name(spec.source), model_path(spec.source), facts)
    return make_plan(weights, spec, SETTINGS, [GPUS])


def server_pod(name: str, spec: Qwen3DeploymentSpec, state: str = "ready", number: int = 0) -> Object:
    """A server's pod: ready, loading (vLLM starts), pulling, or unplaced."""
    template = server_template(name, spec, plan_of(spec), SETTINGS)
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(129)}
    conditions: list[Object] = [placed]
    running = {"running": {"startedAt": ago(110)}}
    pulling = {"waiting": {"reason": "ContainerCreating"}}
    if state == "unplaced":
        words = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
        conditions = [placed | {"status": "False", "reason": "Unschedulable", "message": words}]
    if state == "ready":
        conditions.append({"type": "Ready", "status": "True", "lastTransitionTime": ago(60)})
    of_container = {"name": "vllm", "ready": state == "ready", "restartCount": 0, "image": "vllm/vllm-openai:v0.33.0"}
    of_container["state"] = pulling if state == "pulling" else running
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta(f"{name}-7d9f8c6b5-x{number}k2p", 130, labels=template["metadata"]["labels"]),
        "spec": template["spec"] | ({} if state == "unplaced" else {"nodeName": "gpu-1"}),
        "status": {
            "phase": "Running" if state in ("ready", "loading") else "Pending",
            "conditions": conditions,
            "containerStatuses": [] if state == "unplaced" else [of_container],
        },
    }


def deployment(name: str = "chat", state: str = "ready", *, done: int = TOTAL, **fields: Any) -> list[Object]:
    """A Qwen3Deployment with its model, its server and the server's pod.

    state: downloading, unplaced, pulling, loading, ready.
    """
    spec = spec_of(**fields)
    its_model = model(spec, done=done if state == "downloading" else TOTAL, users=(name,))
    plan = plan_of(spec)
    objects: list[Object] = [its_model, claim(its_model["metadata"]["name"])]
    seen: Object = {"now": NOW, "plan": plan, "model": its_model}
    seen["endpoint"] = f"http://{name}.{NAMESPACE}.svc.cluster.local:8000/v1"
    if state != "downloading":
        pod = server_pod(name, spec, state)
        template = pod["spec"]
        made = MadeFrom("inputs", plan, {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": template})
        server = server_deployment(NAMESPACE, name, f"uid-{name}", spec.replicas, made, spec.rollout)
        ready = int(state == "ready")
        counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": ready, "observedGeneration": 1}
        server = {
            **server,
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": server["metadata"] | meta(name, 131),
            "status": counts,
        }
        seen |= {"server": server, "pods": [] if ready else [PodView(pod)], "gpus_by_node": {"gpu-1": 8}}
        if ready:
            seen["startup"] = startup_status(pod, START_LOG)
        objects += [server, pod]
    stored = spec.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True, mode="json")
    cr = {
        "apiVersion": API_VERSION,
        "kind": "Qwen3Deployment",
        "metadata": meta(name, 320),
        "spec": {"replicas": 1} | stored,
        "status": deployment_status(name, spec, 1, {}, DeploymentView(**seen)),
    }
    return [cr, *objects]


def event(kind: str, name: str, reason: str, message: str, seconds: float, *, warning: bool = False) -> Object:
    """An event of the core group."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": meta(f"{name}.{reason.lower()}", seconds),
        "involvedObject": {"kind": kind, "name": name, "namespace": NAMESPACE},
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message,
        "lastTimestamp": ago(seconds),
        "count": 1,
    }


def node(name: str = "gpu-1", **labels: str) -> Object:
    """A node with eight H100."""
    reported = {"nvidia.com/gpu.product": GPUS.product, "nvidia.com/gpu.memory": str(GPUS.memory_mib)} | labels
    status = {"allocatable": {"cpu": "64", "nvidia.com/gpu": "8"}, "nodeInfo": {"kubeletVersion": "v1.36.3"}}
    its = {"name": name, "labels": {k: v for k, v in reported.items() if v}, "creationTimestamp": ago(86400)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": its, "status": status}


def storage_class(name: str = "standard", provisioner: str = "nfs.csi.k8s.io", *, default: bool = True) -> Object:
    """A StorageClass."""
    mark = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": mark},
        "provisioner": provisioner,
        "allowVolumeExpansion": True,
    }


def operator(**settings: str) -> list[Object]:
    """The operator's Deployment, its pod and its Lease."""
    where = {"namespace": "qwen3-system", "name": "qwen3-operator", "creationTimestamp": ago(86400)}
    labels = {"app.kubernetes.io/component": "operator", "app.kubernetes.io/name": "qwen3-operator"}
    env = [{"name": f"QWEN3_OPERATOR_{key.upper()}", "value": value} for key, value in settings.items()]
    env.append({"name": "QWEN3_OPERATOR_LEASE_NAME", "value": "qwen3-operator"})
    container = {"name": "operator", "image": "registry.example/qwen3-operator:0.1.0", "env": env}
    pod = {"serviceAccountName": "qwen3-operator", "containers": [container]}
    made = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": where | {"labels": labels | {"app.kubernetes.io/version": "0.1.0"}},
        "spec": {"selector": {"matchLabels": labels}, "template": {"spec": pod}},
        "status": {"readyReplicas": 1},
    }
    running = [{"name": "operator", "restartCount": 1, "state": {"running": {"startedAt": ago(60)}}}]
    its_pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": where | {"name": "qwen3-operator-6d5f-abcde", "labels": labels},
        "spec": pod,
        "status": {"phase": "Running", "containerStatuses": running},
    }
    held = {"holderIdentity": "qwen3-operator-6d5f-abcde", "leaseDurationSeconds": 15, "renewTime": ago(3)}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": where, "spec": held}
    return [made, its_pod, lease]
