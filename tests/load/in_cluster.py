"""Users inside the cluster: a pod that keeps asking a Qwen3Deployment's Service, and what became of its requests."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.kube import wait_until
from demo.manifests import NAMESPACE, SYSTEM_NAMESPACE
from demo.ours import RELEASE
from tests.e2e.world import MODEL, World
from tests.load import clients

PROGRAM = Path(clients.__file__)
RESTRICTED = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
"""Security of a pod in the demo's namespace, and of its containers."""
RESTRICTED_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
END = "import os, signal; os.kill(1, signal.SIGTERM)"


@dataclass
class Users:
    """The pod `name`, and what became of its requests once it has ended."""

    world: World
    name: str
    tally: dict[str, Any]

    def so_far(self) -> dict[str, Any]:
        """The tally as it is now; empty before the first second."""
        lines = self.world.kubectl("logs", self.name, "--tail=1").splitlines()
        return dict(json.loads(lines[-1])) if lines else {}

    def answers(self) -> list[tuple[float, float]]:
        """When each answer came, within a second, and how many seconds it took."""
        lines = map(json.loads, self.world.kubectl("logs", self.name).splitlines())
        return [(line["at"], seconds) for line in lines for seconds in line["seconds"]]

    def wait_for(self, requests: int, *, timeout: float = 600) -> None:
        """Until so many more were made."""
        goal = self.so_far().get("requests", 0) + requests
        wait_until(f"{goal} requests", lambda: self.so_far().get("requests", 0) >= goal, timeout=timeout)


@contextlib.contextmanager
def users(
    world: World, endpoint: str, *, count: int = 6, tokens: int = 24, first_within: float = 60, also: str = ""
) -> Iterator[Users]:
    """`count` users of the Service `endpoint` until the end of the block; half of them stream. `first_within`: seconds
    until one has an answer; `also`: a word for those who come beside others.

    They run in the operator's image: it has Python, and is on the node.
    """
    name = f"users-of-{endpoint}{also and '-'}{also}"
    operator = world.kube.get("deployment", RELEASE, "-n", SYSTEM_NAMESPACE)
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    meta = {"name": name, "namespace": NAMESPACE}
    words = [endpoint, "8000", "--users", str(count), "--model", MODEL, "--tokens", str(tokens)]
    container = {
        "name": "users",
        "image": image,
        "command": ["python3", "/load/clients.py", *words],
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "volumeMounts": [{"name": "program", "mountPath": "/load"}],
    }
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": RESTRICTED,
        "containers": [container],
        "volumes": [{"name": "program", "configMap": {"name": name}}],
    }
    program = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"clients.py": PROGRAM.read_text()}}
    world.kube.apply([program, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}])
    found = Users(world, name, {})
    try:
        world.kubectl("wait", "pod", name, "--for=condition=Ready", "--timeout=60s")
        found.wait_for(1, timeout=first_within)
        yield found
        world.kubectl("exec", name, "--", "python3", "-c", END)
        world.kubectl("wait", "pod", name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=150s")
        found.tally = found.so_far()
        assert found.tally.pop("final")
        del found.tally["at"], found.tally["seconds"]
        print(time.strftime("%H:%M:%S"), endpoint, json.dumps(found.tally), flush=True)
    finally:
        world.kubectl("delete", "pod,configmap", name, "--ignore-not-found")
