"""The Job that delivers a batch which was given up: what is finished, and an error line for each line that is not.

It needs no GPU. It belongs to the batch's Job, with which it goes, and takes volumes and configuration from it, for
these are what the parts were written with, and runs where its pods may: a volume may be on one node alone. A
podTemplatePatch may have changed any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_in_engine.batch_runner.contract import DELIVER, PERMANENT
from qwen3_operator.desired.batch import ASKING, QUEUE_PREFIX, mounts_of
from qwen3_operator.desired.batch_config import CONFIG_KEY, MAIN
from qwen3_operator.desired.pod import CONTAINER_SECURITY, pull_secrets
from qwen3_operator.desired.server import CONTAINER, SCRATCH
from qwen3_operator.naming import BATCH_DIR, BATCH_INPUT_DIR, BATCH_OUTPUT_DIR, owner_reference
from qwen3_operator.settings import Settings

Object = Mapping[str, Any]
TRIES = 6
LONGEST_SECONDS, LONGEST_WHY = 86400, 500
_PATHS = {BATCH_DIR, BATCH_INPUT_DIR, BATCH_OUTPUT_DIR, *SCRATCH.values()}
_WHERE = ("nodeSelector", "tolerations", "affinity")


def delivery_name(job: Object) -> str:
    """Name of the Job that delivers what `job` has finished."""
    return f"{job['metadata']['name']}-deliver"


def delivery_job(job: Object, code: str, why: str, settings: Settings) -> dict[str, Any]:
    """The Job. `code` and `why`: of the lines that are not finished."""
    meta, template = job["metadata"], job["spec"]["template"]
    pod = template["spec"]
    mounts = mounts_of(job, _PATHS)
    mounted = {mount["name"] for mount in mounts}
    labels = {key: value for key, value in meta["labels"].items() if not key.startswith(QUEUE_PREFIX)}
    return {
        "metadata": {
            "namespace": meta["namespace"],
            "name": delivery_name(job),
            "labels": labels,
            "ownerReferences": [_owned_by(meta)],
        },
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": LONGEST_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(PERMANENT)},
                    }
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "enableServiceLinks": False,
                    "automountServiceAccountToken": False,
                    "securityContext": pod.get("securityContext") or {},
                    **{field: pod[field] for field in _WHERE if field in pod},
                    **pull_secrets(settings.image_pull_secrets),
                    "containers": [
                        {
                            "name": CONTAINER,
                            "image": settings.downloader_image,
                            "command": ["python3", MAIN],
                            "args": [f"{BATCH_DIR}/{CONFIG_KEY}", DELIVER, code, why[:LONGEST_WHY]],
                            "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
                            "resources": {"requests": dict(ASKING)},
                            "securityContext": CONTAINER_SECURITY,
                            "volumeMounts": mounts,
                        }
                    ],
                    "volumes": [v for v in pod.get("volumes") or [] if v["name"] in mounted],
                },
            },
        },
    }


def _owned_by(meta: Object) -> dict[str, Any]:
    reference = owner_reference("Job", "batch/v1", meta["name"], meta["uid"], controller=True)
    # To block a Job's deletion takes a right on its finalizers, and there is no need.
    return reference | {"blockOwnerDeletion": False}
