"""What servers measured of themselves: heard once, kept in a ConfigMap, shown, and what an autoscaler goes by."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import LOG, NAMESPACE, SERVED, World, downloaded

from qwen3_operator.api.deployment import Qwen3DeploymentStatus
from qwen3_operator.controller.kinds import DEPLOYMENTS, PODS, SCALED_OBJECTS
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.desired.capacity import benchmark_in
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile import Key, reconcile_deployment

POD = f"{SERVED}-1-a"
AUTO: dict[str, Any] = {"maxReplicas": 4, "target": {"auto": True}}
STEPS = [[1, 60, 90], [2, 118, 120], [4, 230, 260], [8, 440, 900], [16, 700, 2600], [12, 600, 1700]]


class Measuring(World):
    """One Qwen3Deployment with spec.benchmark."""

    async def made(self, **spec: Any) -> None:
        """Bring it to where its servers start."""
        self.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(**({"benchmark": {}} | spec)))
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
        await downloaded(self, self.model_of(SERVED))
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED)

    @property
    def key(self) -> str:
        """By which servers of the present template say what they measured."""
        reported = benchmark_in(self.cluster.objects[DEPLOYMENTS.kind, NAMESPACE, SERVED]["spec"]["template"])
        assert reported is not None
        return reported.key

    def line(self, **other: Any) -> str:
        words = {
            "key": self.key,
            "gpu": "NVIDIA L4",
            "at": "2026-11-28T06:00:00Z",
            "seconds": 120,
            "error": "",
            "inputTokens": 1024,
            "outputTokens": 256,
            "targetMilliseconds": 2000,
            "endedBy": "target",
            "steps": STEPS,
        }
        return f"(APIServer pid=1) qwen3: capacity {json.dumps(words | other)}\n"

    async def serves(self, log: str) -> None:
        """Its server is ready, and has written this."""
        self.server_is_ready()
        self.cluster.pod_logs[POD] = LOG + log
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)

    async def change(self, **spec: Any) -> None:
        """Another spec, whose server has another name."""
        obj = self.changed(QWEN3_DEPLOYMENTS, SERVED)
        obj["spec"] = obj["spec"] | spec
        obj["metadata"]["generation"] += 1
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)

    @property
    def reported(self) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.objects[QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED]["status"]
        Qwen3DeploymentStatus.model_validate(status)
        return status

    @property
    def accepted(self) -> str:
        return str(self.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][2])

    @property
    def config_map(self) -> dict[str, Any] | None:
        return self.cluster.objects.get(("ConfigMap", NAMESPACE, f"{SERVED}-capacity"))

    @property
    def results(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.config_map or {})["data"]["capacity.json"])["results"]
        return found

    @property
    def scaler(self) -> dict[str, Any] | None:
        return self.cluster.objects.get((SCALED_OBJECTS.kind, NAMESPACE, SERVED))

    def events(self, reason: str) -> list[dict[str, Any]]:
        return [it for it in self.cluster.objects.values() if it.get("reason") == reason]


@pytest.fixture
def world() -> Measuring:
    return Measuring(prometheus_address="http://prometheus:9090")


async def test_what_a_server_says_is_kept_and_shown(world: Measuring) -> None:
    await world.made()
    assert world.config_map is None and "capacity" not in world.reported
    await world.serves(world.line())
    assert world.config_map is not None and [it["key"] for it in world.results] == [world.key]
    (owner,) = world.config_map["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Qwen3Deployment", SERVED, True)
    capacity = world.reported["capacity"]
    assert (capacity["concurrencyAtTarget"], capacity["tokensPerSecond"], capacity["ttftP95Milliseconds"]) == (
        *(12, 600, 1700),
    )
    assert (capacity["gpu"], capacity["endedBy"], capacity["key"]) == ("NVIDIA L4", "target", world.key)
    writes, read = len(world.cluster.writes), len(world.cluster.logs_read)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert (len(world.cluster.writes), len(world.cluster.logs_read)) == (writes, read), "it is heard once"


async def test_what_is_shown_is_what_the_config_map_says(world: Measuring) -> None:
    await world.made()
    await world.serves(world.line())
    results = world.results
    results[0]["steps"] = STEPS[:2]
    world.config_map["data"]["capacity.json"] = json.dumps({"results": results})  # type: ignore[index]
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.reported["capacity"]["concurrencyAtTarget"] == 2, "not what our own status said before"
    del world.cluster.objects["ConfigMap", NAMESPACE, f"{SERVED}-capacity"]
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.reported["capacity"]["concurrencyAtTarget"] == 12, "and from the server's log where it is gone"


async def test_a_line_of_other_servers_or_of_a_stranger_counts_for_nothing(world: Measuring) -> None:
    await world.made()
    wrong = (
        *({"key": "0a1b"}, {"steps": [[0, 1, 1]]}, {"steps": [[1, -1, 1]]}, {"steps": [[1, 1, 10**30]]}),
        *(
            {"steps": 3},
            {"at": "yesterday"},
            {"endedBy": "x"},
            {"gpu": 1},
            {"key": "K" * 100},
            {"steps": [[1, 1, 1]] * 99},
        ),
    )
    await world.serves("".join(world.line(**it) for it in wrong) + "qwen3: capacity {\nqwen3: capacity 1\n")
    assert world.config_map is None and "capacity" not in world.reported


async def test_an_autoscaler_waits_for_it_and_goes_by_it(world: Measuring) -> None:
    await world.made(autoscaling=AUTO)
    await world.serves("")
    assert world.scaler is None and "autoscaling.target.auto waits until a server was measured" in world.accepted
    assert world.cluster.objects[DEPLOYMENTS.kind, NAMESPACE, SERVED]["spec"]["replicas"] == 1, "still the operator's"
    world.cluster.pod_logs[POD] = LOG + world.line()
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 3)
    assert world.scaler is not None
    (trigger,) = world.scaler["spec"]["triggers"]
    assert trigger["name"] == "concurrency" and trigger["metadata"]["threshold"] == "12"
    assert "waits" not in world.accepted


async def test_until_new_servers_are_measured_the_figure_of_before_holds(world: Measuring) -> None:
    await world.made(autoscaling=AUTO)
    await world.serves(world.line())
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await world.change(engine={"maxNumSeqs": 64})
    assert world.scaler is not None and world.scaler["spec"]["triggers"][0]["metadata"]["threshold"] == "12"
    assert "capacity" not in world.reported, "it is of other servers"


@pytest.mark.parametrize(("percent", "reported"), [(91, False), (80, True)])
async def test_new_servers_that_are_slower_say_so(world: Measuring, percent: int, reported: bool) -> None:
    await world.made()
    await world.serves(world.line())
    await world.change(engine={"maxNumSeqs": 64})
    # They keep the target with fewer requests: compared is what both were asked.
    slower = [[n, tokens * percent // 100, ttft] for n, tokens, ttft in STEPS[:4]] + [[16, 1, 9000]]
    del world.cluster.objects[PODS.kind, NAMESPACE, POD]
    await world.serves(world.line(steps=slower))
    assert len(world.results) == 2
    words = "the servers are 20 % slower than those before: 352 tokens/s, and 440 before, with 8 requests"
    assert (words in world.accepted) is reported
    assert len(world.events("ServersSlower")) == reported
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert len(world.events("ServersSlower")) == reported


async def test_a_benchmark_that_failed_is_said_and_not_asked_for_again(world: Measuring) -> None:
    await world.made()
    await world.serves(world.line(steps=[], endedBy="failure", error="ValueError: no tokenizer"))
    status = world.status(QWEN3_DEPLOYMENTS, SERVED)
    assert status["Ready"][0] == "True" and status["Accepted"][:2] == ("True", "AcceptedWithWarnings")
    assert "ValueError: no tokenizer" in world.accepted and f"ConfigMap {SERVED}-capacity" in world.accepted
    assert "capacity" not in world.reported and world.results[0]["error"] == "ValueError: no tokenizer"
    read = len(world.cluster.logs_read)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert len(world.cluster.logs_read) == read


async def test_a_server_on_another_gpu_is_heard_and_the_slowest_counts(world: Measuring) -> None:
    await world.made()
    await world.serves(world.line())
    del world.cluster.objects[PODS.kind, NAMESPACE, POD]
    world.server_is_ready()
    pod = world.cluster.objects.pop((PODS.kind, NAMESPACE, POD))
    pod["metadata"] |= {"name": f"{SERVED}-1-b"}
    world.cluster.put(PODS, pod)
    world.cluster.pod_logs[f"{SERVED}-1-b"] = LOG + world.line(gpu="Tesla T4", steps=STEPS[:3])
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert {it["gpu"] for it in world.results} == {"NVIDIA L4", "Tesla T4"}
    assert world.reported["capacity"]["concurrencyAtTarget"] == 4 and world.reported["capacity"]["gpu"] == "Tesla T4"


async def test_servers_that_never_say_it_are_not_in_the_way_of_one_that_does(world: Measuring) -> None:
    await world.made()
    world.server_is_ready()
    world.cluster.pod_logs[POD] = LOG + world.line()
    pod = world.cluster.objects[PODS.kind, NAMESPACE, POD]
    for letter in "bcde":  # newer ones
        meta = {key: pod["metadata"][key] for key in ("namespace", "labels", "ownerReferences")}
        world.cluster.put(PODS, pod | {"metadata": meta | {"name": f"{SERVED}-1-{letter}"}})
        world.cluster.pod_logs[f"{SERVED}-1-{letter}"] = LOG
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert world.config_map is None
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert [it["gpu"] for it in world.results] == ["NVIDIA L4"]


async def test_a_server_that_started_anew_is_asked_again(world: Measuring) -> None:
    await world.made()
    await world.serves(world.line())
    pod = world.cluster.objects[PODS.kind, NAMESPACE, POD]
    pod["status"]["containerStatuses"] = [{"name": "vllm", "containerID": "containerd://second"}]
    world.cluster.put(PODS, pod)
    world.cluster.pod_logs[POD] = LOG + world.line(gpu="Tesla T4", steps=STEPS[:3])
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert {it["gpu"] for it in world.results} == {"NVIDIA L4", "Tesla T4"}


async def test_a_server_whose_log_did_not_come_is_asked_until_it_does(world: Measuring) -> None:
    await world.made()
    await world.serves(world.line())
    pod = world.cluster.objects[PODS.kind, NAMESPACE, POD]
    for name in ("b", "c", "d", "e"):  # newer ones, ready at once
        meta = {key: pod["metadata"][key] for key in ("namespace", "labels", "ownerReferences")}
        world.cluster.put(PODS, pod | {"metadata": meta | {"name": f"{SERVED}-1-{name}"}})
        world.cluster.pod_logs[f"{SERVED}-1-{name}"] = LOG
    world.cluster.pod_logs[f"{SERVED}-1-b"] = ""  # its kubelet is slow
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    again = await reconcile_deployment(world.operator._context, Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED))
    assert isinstance(again, Requeue), "of the log no watch tells"
    world.cluster.pod_logs[f"{SERVED}-1-b"] = LOG + world.line(gpu="Tesla T4", steps=STEPS[:3])
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert {it["gpu"] for it in world.results} == {"NVIDIA L4", "Tesla T4"}
    read = len(world.cluster.logs_read)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert len(world.cluster.logs_read) == read, "each is heard once"


async def test_not_even_one_request_is_fast_enough(world: Measuring) -> None:
    await world.made(autoscaling=AUTO)
    await world.serves(world.line(steps=[[1, 2, 9000]]))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.reported["capacity"]["concurrencyAtTarget"] == 0
    assert "not even one request keeps the target: its first token comes after 9000 ms" in world.accepted
    assert world.scaler is not None and world.scaler["spec"]["triggers"][0]["metadata"]["threshold"] == "1"


async def test_a_config_map_of_somebody_else_is_left_alone(world: Measuring) -> None:
    meta = {"namespace": NAMESPACE, "name": f"{SERVED}-capacity", "uid": "theirs"}
    await world.made()
    world.cluster.objects["ConfigMap", NAMESPACE, f"{SERVED}-capacity"] = {"metadata": meta, "data": {"a": "b"}}
    await world.serves(world.line())
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][:2] == ("False", "NameTaken")
    assert world.config_map is not None and world.config_map["data"] == {"a": "b"}


async def test_what_a_config_map_of_somebody_else_says_is_not_believed(world: Measuring) -> None:
    await world.made()
    await world.serves(world.line())
    assert world.config_map is not None
    world.config_map["metadata"]["ownerReferences"] = []
    writes = len(world.cluster.writes)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert "capacity" not in world.reported
    assert "ConfigMap" not in [kind for _, kind, _ in world.cluster.writes[writes:]]
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][:2] == ("False", "NameTaken")


async def test_without_it_nothing_is_read(world: Measuring) -> None:
    world.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    await downloaded(world, world.model_of(SERVED))
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    template = world.cluster.objects[DEPLOYMENTS.kind, NAMESPACE, SERVED]["spec"]["template"]
    assert benchmark_in(template) is None and "capacity" not in str(template)
