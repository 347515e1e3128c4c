"""One namespace of the cluster, as a test sees it: what to apply, what to read, what to wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tests.cluster.api import KINDS, Api
from tests.cluster.waiting import wait_until
from tests.cluster.wrappers import Q3b, Q3d, Q3m

from qwen3_operator.api.source import ModelSource
from qwen3_operator.naming import model_name

Object = dict[str, Any]
T = TypeVar("T")

READY_SECONDS = 30.0
COLLECTED_SECONDS = 60.0
"""The garbage collector hears of a kind up to half a minute after its CRD came."""


class World:
    """One namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def apply(self, *objects: Q3d | Q3m | Q3b | Object) -> Object:
        """Server-side apply into this namespace, as a user does; returns the last one as it is in the cluster."""
        applied: Object = {}
        for it in objects:
            manifest = it.manifest if isinstance(it, Q3d | Q3m | Q3b) else it
            applied = self.api.apply(
                manifest | {"metadata": manifest["metadata"] | {"namespace": self.namespace}}, manager="kubectl"
            )
        return applied

    def get(self, kind: str, name: str) -> Object | None:
        """The object, or None."""
        return self.api.get(kind, self.namespace, name)

    def must(self, kind: str, name: str) -> Object:
        """The object; an AssertionError where there is none."""
        found = self.get(kind, name)
        assert found is not None, f"there is no {kind} {name}"
        return found

    def list(self, kind: str, **query: str) -> list[Object]:
        """Objects of the namespace."""
        return self.api.list(kind, self.namespace, **query)

    def patch(self, kind: str, name: str, change: Any, **options: Any) -> Object:
        """Merge patch (or JSON patch for a list)."""
        return self.api.patch(kind, self.namespace, name, change, **options)

    def set_spec(self, name: str, **fields: Any) -> Object:
        """Change fields of a Qwen3Deployment's spec."""
        return self.patch("Qwen3Deployment", name, {"spec": fields})

    def delete(self, kind: str, name: str) -> None:
        self.api.delete(kind, self.namespace, name)

    def conditions(self, kind: str, name: str) -> dict[str, Object]:
        """Conditions by their type, of the newest generation only."""
        obj = self.must(kind, name)
        status = obj.get("status") or {}
        if status.get("observedGeneration") != obj["metadata"]["generation"]:
            return {}
        return {c["type"]: c for c in status["conditions"]}

    def condition(self, name: str, type: str, *, kind: str = "Qwen3Deployment") -> Object:
        """One condition; empty while there is none."""
        return self.conditions(kind, name).get(type, {})

    def is_ready(self, name: str, kind: str = "Qwen3Deployment") -> bool:
        """Whether Ready is True for the newest generation."""
        return self.condition(name, "Ready", kind=kind).get("status") == "True"

    def wait(self, check: Callable[[], T | None], what: str = "", *, within: float = 15.0) -> T:
        """`wait_until`, showing the namespace when time is up."""
        return wait_until(check, within=within, what=what, showing=self.describe)

    def wait_ready(self, name: str, kind: str = "Qwen3Deployment", *, within: float = READY_SECONDS) -> Object:
        """Wait until it is Ready; returns it."""
        self.wait(lambda: self.is_ready(name, kind), f"{kind} {name} is Ready", within=within)
        return self.must(kind, name)

    def wait_condition(
        self,
        name: str,
        type: str,
        status: str,
        *,
        kind: str = "Qwen3Deployment",
        within: float = 15.0,
        reason: str = "",
    ) -> Object:
        """Wait until a condition has that status (and reason); returns it."""

        def as_wanted() -> Object:
            found = self.condition(name, type, kind=kind)
            assert found.get("status") == status and found.get("reason", "") == (reason or found["reason"]), found
            return found

        return self.wait(as_wanted, f"{kind} {name} has {type}={status} {reason}", within=within)

    def wait_gone(self, kind: str, name: str, *, within: float = COLLECTED_SECONDS) -> None:
        """Wait until the object is gone."""
        self.wait(lambda: self.get(kind, name) is None, f"{kind} {name} is gone", within=within)

    def history(self, kind: str, name: str, since: Object) -> Sequence[Object]:
        """Every version of the object after `since`, as a watch that began there would have seen them."""
        path = KINDS[kind].path(self.namespace)
        query = {"watch": "true", "resourceVersion": since["metadata"]["resourceVersion"], "timeoutSeconds": "1"}
        answer = self.api.request("GET", path, query=query | {"fieldSelector": f"metadata.name={name}"}, stream=True)
        versions: list[Object] = [event["object"] for event in answer["events"]]
        return versions

    def container(self, name: str) -> Object:
        """The server container in the Deployment's pod template."""
        containers: list[Object] = self.must("Deployment", name)["spec"]["template"]["spec"]["containers"]
        return next(c for c in containers if c["name"] == "vllm")

    def events(self, about: str) -> Sequence[Object]:
        """Events about the object of that name."""
        return [e for e in self.list("Event") if e["regarding"]["name"] == about]

    def describe(self) -> str:
        """What stands in the namespace, for a person who reads a failed test."""
        lines = [f"namespace {self.namespace}:"]
        for kind in ("Qwen3Deployment", "Qwen3Batch", "Qwen3Model"):
            for obj in self.list(kind):
                lines.append(f"{kind} {obj['metadata']['name']} (generation {obj['metadata']['generation']})")
                for c in (obj.get("status") or {}).get("conditions") or []:
                    words = f"{c['reason']}: {c['message'][:300]} [{c['observedGeneration']}]"
                    lines.append(f"  {c['type']:12} {c['status']:8} {words}")
        for kind in ("PersistentVolumeClaim", "Job", "Deployment", "Service", "Pod"):
            for obj in self.list(kind):
                status = obj.get("status") or {}
                reported = {
                    k: status[k]
                    for k in ("phase", "active", "succeeded", "failed", "replicas", "readyReplicas")
                    if k in status
                }
                lines.append(f"{kind} {obj['metadata']['name']} {reported}")
        for event in self.list("Event"):
            regarding = event["regarding"]
            lines.append(
                f"Event {regarding['kind']}/{regarding['name']} {event.get('reason')}: {event.get('note', '')[:200]}"
            )
        return "\n".join(lines)


def shared_name(cr: Q3d) -> str:
    """Name of the Qwen3Model that is made for a Qwen3Deployment."""
    return model_name(ModelSource.model_validate(cr.spec["model"]))


WritesSince = Callable[[World, float], list[str]]
"""The operator's writes in the namespace of a world after a moment (time.time()), as words."""
