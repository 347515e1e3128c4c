"""The Job that downloads and verifies a model."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api import API_VERSION
from qwen3_operator.api.model import Qwen3Model, Qwen3ModelSpec
from qwen3_operator.desired.pod import CONTAINER_SECURITY, pod_security, pull_secrets, secret_env
from qwen3_operator.naming import MODELS_DIR, claim_name, digest, model_labels, model_path, owner_reference
from qwen3_operator.settings import Settings

CONTAINER = "download"
USER, GROUP = 65532, 2000
"""The downloader's user, and the group that servers share with it (vllm's own user is 2000 in the official image)."""

PERMANENT_EXITS = [2, 10, 11, 12, 13, 20]
"""Exit codes of qwen3-download that another try at once does not mend."""
TRIES = 6
"""Pods of one Job; a pod continues where the one before stopped."""
KEEP_FINISHED_SECONDS = 24 * 3600


def download_job(
    namespace: str,
    name: str,
    uid: str,
    spec: Qwen3ModelSpec,
    settings: Settings,
    *,
    claim_uid: str = "",
    token_version: str = "",
) -> dict[str, Any]:
    """The Job of the Qwen3Model `name`. Its name holds a hash of what it does, since a Job's template cannot change;
    `claim_uid` and `token_version` (the Secret's resourceVersion) make a new Job for a new claim or a mended token."""
    template = {"metadata": {"labels": model_labels(name)}, "spec": _pod(name, spec, settings)}
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"{name}-{digest([template, claim_uid, token_version])}",
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


def _pod(name: str, spec: Qwen3ModelSpec, settings: Settings) -> dict[str, Any]:
    target = "/".join(part for part in (MODELS_DIR, model_path(spec)) if part)
    env: list[dict[str, Any]] = [{"name": "HOME", "value": "/tmp"}, {"name": "PYTHONUNBUFFERED", "value": "1"}]
    if spec.token_secret_ref:
        env.append(secret_env("MODELSCOPE_API_TOKEN", spec.token_secret_ref.name, spec.token_secret_ref.key))
    return {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(USER, GROUP),
        **pull_secrets(settings.image_pull_secrets),
        **spec.scheduling.pod_fields(server=False),
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.downloader_image,
                "args": [
                    f"--model={spec.id}",
                    f"--revision={spec.revision}",
                    f"--endpoint={spec.endpoint or settings.hub_endpoint}",
                    f"--target={target}",
                    "--json",
                ],
                "env": env,
                "resources": {
                    "requests": {"cpu": "500m", "memory": "256Mi"},
                    "limits": {"memory": "1Gi"},  # the page cache counts too, and is given back
                },
                "securityContext": CONTAINER_SECURITY,
                "volumeMounts": [{"name": "models", "mountPath": MODELS_DIR}, {"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [
            {"name": "models", "persistentVolumeClaim": {"claimName": claim_name(name, spec)}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }
