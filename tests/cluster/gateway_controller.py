"""What a Gateway's controller writes, played by the tests."""

from __future__ import annotations

from tests.cluster.world import World

PARENT = {"name": "public", "namespace": "edge"}
GOOD = (("Accepted", "True", "Accepted", ""), ("ResolvedRefs", "True", "ResolvedRefs", ""))


def says(world: World, kind: str, *verdicts: tuple[str, str, str, str]) -> None:
    """Of the route or the pool `chat` as it is now: (type, status, reason, message)."""
    live = world.must(kind, "chat")
    conditions = [
        {
            "type": of,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": live["metadata"]["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        for of, status, reason, message in verdicts
    ]
    parent = {"parentRef": PARENT, "controllerName": "example.com/gateway", "conditions": conditions}
    world.patch(kind, "chat", {"status": {"parents": [parent]}}, subresource="status")
