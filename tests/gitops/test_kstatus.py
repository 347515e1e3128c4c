"""What kstatus says of real objects: by it Flux, `helm --wait` and others judge."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from typing import Any, NamedTuple

from devcluster import tools
from tests.cluster.downloads import NEVER_ENDS, stage
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3b, Q3d, Q3m
from tests.gitops.test_argo_cd import TOO_LONG, fitting

Object = dict[str, Any]


class Verdict(NamedTuple):
    """Of kstatus."""

    status: str
    message: str


def kstatus(*objects: Object) -> list[Verdict]:
    """Its verdict on each object."""
    program = tools.ensure(["kstatus"])["kstatus"]
    words = "\n".join(json.dumps(it) for it in objects)
    done = subprocess.run([program], input=words, capture_output=True, text=True, check=True)
    return [Verdict(**json.loads(line)) for line in done.stdout.splitlines()]


def verdict(world: World, name: str, kind: str = "Qwen3Deployment") -> Verdict:
    """On the object as it is now."""
    (found,) = kstatus(world.must(kind, name))
    return found


def test_what_serves_is_current(world: World) -> None:
    def is_current(kind: str, name: str) -> bool:
        return verdict(world, name, kind).status == "Current"

    world.apply(fitting(), Q3d("none").set(replicas=0), Q3m())
    for kind, name in [("Qwen3Deployment", "chat"), ("Qwen3Deployment", "none"), ("Qwen3Model", "weights")]:
        world.wait(partial(is_current, kind, name), f"{name} is Current", within=30)


def test_what_is_suspended_is_in_progress(world: World) -> None:
    """kstatus has no word for it."""
    world.apply(Q3d().set(suspend=True))
    world.wait_condition("chat", "ModelReady", "True", within=30)
    world.wait_condition("chat", "Reconciling", "False")
    condition = world.wait_condition("chat", "Ready", "False", reason="Suspended")
    assert verdict(world, "chat") == ("InProgress", condition["message"])


def test_what_was_never_reconciled_is_in_progress(world: World, operator: OperatorProcess) -> None:
    """Else whoever waits goes on at once, where the operator is slow, or does not run."""
    operator.stop()
    world.apply(Q3d(), Q3m(), Q3b())
    for kind, name in [("Qwen3Deployment", "chat"), ("Qwen3Model", "weights"), ("Qwen3Batch", "nightly")]:
        assert verdict(world, name, kind).status == "InProgress"


def test_what_the_operator_works_on_is_in_progress(world: World) -> None:
    slow = Q3d("slow").model("Qwen/Qwen3-1.7B")
    world.api.apply(stage(world.namespace, NEVER_ENDS, only_job_of=shared_name(slow)))
    world.apply(slow)
    for kind, name in [("Qwen3Deployment", "slow"), ("Qwen3Model", shared_name(slow))]:
        world.wait_condition(name, "Reconciling", "True", kind=kind)

        def says_the_same(kind: str = kind, name: str = name) -> bool:
            said = world.condition(name, "Reconciling", kind=kind)
            return verdict(world, name, kind) == ("InProgress", said["message"])

        world.wait(says_the_same, f"of {name} it says what the operator says")


def test_what_waits_for_a_person_has_failed(world: World) -> None:
    world.apply(fitting().engine(maxModelLen=TOO_LONG))
    condition = world.wait_condition("chat", "Stalled", "True")
    assert verdict(world, "chat") == ("Failed", condition["message"])


def test_it_is_never_current_before_the_operator_saw_an_edit(world: World) -> None:
    """Whoever waits for a roll-out must not read the state before: from the edit to the new servers."""
    world.apply(fitting())
    before = world.wait_ready("chat")
    world.apply(fitting().engine(maxModelLen=2048))
    world.wait_ready("chat")
    seen = world.history("Qwen3Deployment", "chat", before)
    verdicts = [it.status for it in kstatus(*seen)]
    done = [generation_of_servers(it) for it in seen]
    assert verdicts[0] == "InProgress" and verdicts[-1] == "Current"
    first = verdicts.index("Current")
    assert done[first] == 2, "the servers are those of the edit"
    assert set(verdicts[:first]) == {"InProgress"}


def generation_of_servers(obj: Object) -> int:
    """The generation that Ready speaks of, where it is True."""
    conditions = {it["type"]: it for it in obj.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready", {})
    return int(ready["observedGeneration"]) if ready.get("status") == "True" else 0
