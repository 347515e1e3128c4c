"""Which trouble of a pod needs a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from qwen3_operator.status.pods import PodView, pod_trouble

PLACED = {"type": "PodScheduled", "status": "True"}
CRASHED = {"terminated": {"exitCode": 1}}
KILLED = {"terminated": {"exitCode": 137, "reason": "Error"}}
TOO_LITTLE = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
REGISTRY = {"waiting": {"reason": "ErrImagePull", "message": "registry: EOF"}}
NO_IMAGE = {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown: not found"}}
RUNTIME = {"waiting": {"reason": "CreateContainerError", "message": "words of a runtime"}}


def pod(state: dict[str, Any], restarts: int, minutes: float) -> PodView:
    container = {"name": "vllm", "image": "vllm/vllm-openai:v9", "restartCount": restarts, "state": state}
    status = {"phase": "Pending", "conditions": [PLACED], "containerStatuses": [container]}
    return PodView({"metadata": {"name": "chat-1"}, "status": status}, age=timedelta(minutes=minutes))


@pytest.mark.parametrize(
    ("state", "restarts", "minutes", "reason", "person"),
    [
        # One that ends is started again.
        (CRASHED, 0, 60, "ServerFailed", False),
        (CRASHED, 2, 60, "ServerFailed", False),
        (CRASHED, 3, 1, "ServerFailed", True),
        (KILLED, 1, 60, "Killed", False),
        (KILLED, 3, 1, "Killed", True),
        (TOO_LITTLE, 1, 1, "OutOfHostMemory", True),
        # What a kubelet tries again does not count its tries.
        (REGISTRY, 0, 4.9, "ImagePullFailed", False),
        (REGISTRY, 0, 5, "ImagePullFailed", True),
        (NO_IMAGE, 0, 0, "ImageNotFound", True),
        (RUNTIME, 0, 4.9, "CreateContainerError", False),
        (RUNTIME, 0, 5, "CreateContainerError", True),
    ],
)
def test_what_may_pass_needs_a_person_when_it_comes_again_or_lasts(
    state: dict[str, Any], restarts: int, minutes: float, reason: str, person: bool
) -> None:
    trouble = pod_trouble([pod(state, restarts, minutes)])
    assert trouble is not None
    assert (trouble.reason, trouble.needs_a_person) == (reason, person)
