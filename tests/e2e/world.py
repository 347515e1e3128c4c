"""What the e2e tests do with the cluster, in their words."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import devcluster
import requests
from demo.kube import Kube, wait_until
from demo.manifests import HUB_NAMESPACE, HUB_PORT, NAMESPACE, SYSTEM_NAMESPACE
from demo.ours import RELEASE
from demo.stage import example
from demo.watch import wait_ready
from devcluster import tools

EXAMPLE = example()
"""As it stands; on a cluster of DEMO_KUBECONFIG a World's own has another image."""
MODELS_NAMESPACE = "qwen3-demo-models"
MODEL = "Tiny-Qwen3"
OPERATOR_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{RELEASE}"
WRITES = ("create", "update", "patch", "delete", "deletecollection")
SIGNAL_ENGINE = """
import os, pathlib, signal, sys
(engine,) = (p for p in pathlib.Path("/proc").glob("[0-9]*") if (p / "comm").read_text().startswith("VLLM::Engine"))
os.kill(int(engine.name), getattr(signal, sys.argv[1]))
"""
"""The image has Python, and no pkill."""


class World:
    """The cluster, the namespace of the demo in it, and the operator."""

    def __init__(self, kube: Kube, cluster: devcluster.Cluster | None, tiny: dict[str, Any]) -> None:
        self.kube, self.cluster, self.tiny = kube, cluster, tiny

    def example(self, name: str, **changes: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """examples/tiny.yaml under another name; each change gets the part of the spec that it is called after."""
        manifest = copy.deepcopy(self.tiny)
        manifest["metadata"]["name"] = name
        for part, change in changes.items():
            change(manifest["spec"].setdefault(part, {}))
        return manifest

    def apply(self, manifest: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", input=json.dumps(manifest))

    def patch(self, name: str, spec: dict[str, Any]) -> None:
        self.kubectl("patch", "qwen3deployment", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def delete(self, name: str) -> None:
        """Delete the Qwen3Deployment and wait until its pods are gone."""
        self.kubectl("delete", "qwen3deployment", name)
        wait_until(f"the end of {name}'s pods", lambda: not self.servers(name), timeout=90)

    def ready(self, name: str, timeout: float = 300) -> dict[str, Any]:
        """The Qwen3Deployment once it is Ready for its present spec."""
        return wait_ready(self.kube, NAMESPACE, name, timeout=timeout)

    def condition(self, name: str, type: str, status: str, *, reason: str = "", timeout: float = 20) -> dict[str, Any]:
        """The condition once it has this status (and reason) for the present spec."""

        def read() -> dict[str, Any] | None:
            live = self.get("qwen3deployment", name)
            found = live.get("status", {})
            if found.get("observedGeneration") != live["metadata"]["generation"]:
                return None
            of_type = [c for c in found["conditions"] if c["type"] == type]
            return next((c for c in of_type if c["status"] == status and reason in ("", c["reason"])), None)

        found = wait_until(f"{type}={status} {reason} of {name}", read, timeout=timeout)
        assert found
        return found

    def servers(self, name: str) -> list[dict[str, Any]]:
        """The server pods of the Qwen3Deployment."""
        selector = f"serving.qwen3.dev/deployment={name},app.kubernetes.io/component=server"
        found: list[dict[str, Any]] = self.get("pods", "-l", selector)["items"]
        return found

    def signal_engine(self, pod: str, name: str) -> None:
        """Send the engine of a server a signal, like SIGKILL."""
        self.kubectl("exec", pod, "--", "python3", "-c", SIGNAL_ENGINE, name)

    def get(self, *args: str) -> Any:
        return self.kube.get("-n", NAMESPACE, *args)

    def kubectl(self, *args: str, input: str | None = None) -> str:
        return self.kube.run("-n", NAMESPACE, *args, input=input)

    def plugin(self, *words: str) -> str:
        """What `kubectl qwen3 WORDS` prints in the namespace of the demo."""
        kubectl = Path(tools.ensure(["kubectl"])["kubectl"])
        path = f"{kubectl.parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, "-m", "qwen3_operator.plugin", *words, f"--namespace={NAMESPACE}"],
            env=os.environ | {"KUBECONFIG": self.kube.kubeconfig, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def url(self, name: str) -> Iterator[str]:
        """A URL on 127.0.0.1 that leads to the server's Service."""
        with self.kube.port_forward(NAMESPACE, f"svc/{name}", 8000) as url:
            yield url

    @contextlib.contextmanager
    def hub_requests(self) -> Iterator[Callable[[str], list[str]]]:
        """A function that returns the paths of the requests of one kind that the hub got since this block began."""
        with self.kube.port_forward(HUB_NAMESPACE, "svc/hub", HUB_PORT) as hub:
            requests.delete(f"{hub}/admin/log", timeout=10).raise_for_status()

            def asked(kind: str) -> list[str]:
                log = requests.get(f"{hub}/admin/log", timeout=10).json()
                return [entry["path"] for entry in log if entry["kind"] == kind]

            yield asked

    def in_volume(self, claim: str, command: str) -> None:
        """Run a shell command in a pod that has the volume of `claim` at /models, as the user of the downloads."""
        job = next(job for job in self.get("jobs")["items"] if job["metadata"]["name"].startswith(claim))
        pod = job["spec"]["template"]["spec"]
        container = pod["containers"][0] | {"command": ["sh", "-c"], "args": [command]}
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "in-volume", "namespace": NAMESPACE},
            "spec": pod | {"containers": [container]},
        }
        self.kube.apply([manifest])
        self.kubectl("wait", "pod", "in-volume", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
        self.kubectl("delete", "pod", "in-volume")

    def restart_operator(self) -> None:
        """Delete the operator's pod and wait until the next one is ready."""
        where = ("-n", SYSTEM_NAMESPACE)
        self.kube.run(*where, "delete", "pod", "-l", f"app.kubernetes.io/instance={RELEASE}")
        self.kube.run(*where, "rollout", "status", f"deployment/{RELEASE}", "--timeout=60s")

    def granted(self) -> set[tuple[str, str, str]]:
        """(verb, API group, resource) of every rule of the operator's roles."""
        roles = self.kube.get("clusterrole", RELEASE), self.kube.get("role", f"{RELEASE}-lease", "-n", SYSTEM_NAMESPACE)
        rules = [rule for role in roles for rule in role["rules"]]
        return {
            (verb, group, resource)
            for rule in rules
            for verb in rule["verbs"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }

    def operator_requests(self) -> list[dict[str, Any]]:
        """What the operator asked about objects so far (audit log; an empty list on a cluster of DEMO_KUBECONFIG)."""
        if self.cluster is None:
            return []
        entries = self.cluster.requests()
        return [entry for entry in entries if entry["user"]["username"] == OPERATOR_USER and "objectRef" in entry]
