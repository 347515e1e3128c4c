"""Keys and limits of teams: what reaches servers that run, what makes new ones, and why one lets nobody in."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3b, Q3d, claim, secret

KEYS = {"keys": {"secretRef": {"name": "teams"}}}
NONE = "KeysUnusable: the Secret of auth.keys has no key that can be used, so nobody could get in"


def limits(world: World) -> Any:
    """What the servers read."""
    found = world.must("ConfigMap", "chat-limits")
    return json.loads(found["data"]["limits.json"])


def test_limits_reach_servers_that_run_and_make_no_new_ones(world: World) -> None:
    world.apply(secret("teams", **{"team-a": "sesame"}), Q3d().set(auth=KEYS))
    world.wait_ready("chat")
    before = world.must("Deployment", "chat")["metadata"]["generation"]
    assert limits(world) == {"default": {}, "teams": {}}
    teams = [{"name": "team-a", "tokensPerMinute": 60000}]
    world.apply(Q3d().set(auth=KEYS | {"limits": {"default": {"maxConcurrent": 4}, "teams": teams}}))
    wanted = {"default": {"maxConcurrent": 4}, "teams": {"team-a": {"tokensPerMinute": 60000}}}
    world.wait(lambda: limits(world) == wanted, "the limits are written", within=8)
    stays(lambda: world.must("Deployment", "chat")["metadata"]["generation"] == before, seconds=3)
    world.apply(Q3d().set(auth=KEYS))
    world.wait(lambda: limits(world) == {"default": {}, "teams": {}}, "they are gone again", within=8)
    assert world.must("Deployment", "chat")["metadata"]["generation"] == before


def test_a_config_map_of_others_is_left_alone_and_named(world: World) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "chat-limits", "namespace": world.namespace},
        "data": {"a": "b"},
    }
    world.api.apply(theirs)
    world.apply(Q3d().set(auth=KEYS))
    world.wait_condition("chat", "Accepted", "False", reason="NameTaken")
    assert world.must("ConfigMap", "chat-limits")["data"] == {"a": "b"}


def test_a_server_that_lets_nobody_in_says_why(world: World) -> None:
    said = {"waiting_reason": "CrashLoopBackOff", "exit_code": "87", "termination_message": NONE}
    world.apply(Q3d().set(auth=KEYS).pod(**said))
    condition = world.wait_condition("chat", "Available", "False", reason="KeysUnusable", within=30)
    assert "the Secret of auth.keys has no key that can be used" in condition["message"]


def test_servers_that_let_everybody_in_do_not_come_back(world: World) -> None:
    """Keys that cannot be used are no reason for none; the servers of before stay until the new ones are ready."""
    world.apply(Q3d().set(rollout={"strategy": "Recreate"}))
    world.wait_ready("chat")
    said = {"waiting_reason": "CrashLoopBackOff", "exit_code": "87", "termination_message": NONE}
    world.apply(Q3d().set(auth=KEYS, rollout={"strategy": "Recreate"}).pod(**said))
    world.wait_condition("chat", "Available", "False", reason="KeysUnusable", within=30)
    stays(lambda: world.condition("chat", "Accepted")["status"] == "True", seconds=5)
    world.apply(Q3d().set(auth=KEYS, rollout={"strategy": "Recreate"}))
    world.wait_ready("chat")


def test_what_would_go_around_the_keys_is_refused(world: World) -> None:
    world.apply(Q3d().set(auth=KEYS).engine(env=[{"name": "VLLM_USE_RUST_FRONTEND", "value": "1"}]))
    world.wait_condition("chat", "Accepted", "False", reason="KeysNotAsked")
    patch = {"spec": {"containers": [{"name": "vllm", "args": ["/models", "--port", "8000"]}]}}
    world.apply(Q3d().set(auth=KEYS, podTemplatePatch=patch))
    world.wait_condition("chat", "Accepted", "False", reason="InvalidPatch")
    assert not world.list("Deployment")


def test_a_batch_asks_servers_of_teams_by_its_own_key(world: World) -> None:
    world.apply(secret("teams", batches="sesame"), Q3d().set(auth=KEYS), claim("answers"))
    world.wait_ready("chat")
    batch = Q3b().set(deploymentRef={"name": "chat"}, target="Running")
    del batch.spec["model"]
    world.apply(batch)
    world.wait_condition("nightly", "Accepted", "False", kind="Qwen3Batch", reason="KeyMissing")
    world.apply(batch.set(apiKeySecretRef={"name": "teams", "key": "batches"}))

    def variables() -> list[dict[str, Any]]:
        jobs = [job for job in world.list("Job") if job["metadata"]["name"].startswith("nightly")]
        return [v for job in jobs for v in job["spec"]["template"]["spec"]["containers"][0]["env"]]

    key = {"secretKeyRef": {"name": "teams", "key": "batches"}}
    world.wait(lambda: {"name": "VLLM_API_KEY", "valueFrom": key} in variables(), "the batch has the key", within=20)
