"""LoRA adapters of a Qwen3Deployment: a Qwen3Model each, a list that servers follow, a restart only where it must."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tests.cluster.downloads import CONFIG
from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import replica_set
from tests.unit.memory_cluster import MemoryCluster

from qwen3_operator.api.deployment import Qwen3DeploymentStatus
from qwen3_operator.controller.cluster import ApiError, Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import CLAIMS, DEPLOYMENTS, NODES, PODS, REPLICA_SETS
from qwen3_operator.controller.store import Store
from qwen3_operator.desired.adapters import list_version
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS, server_labels
from qwen3_operator.reconcile import Context, Key, reconcile_deployment
from qwen3_operator.reconcile.heard import Heard
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.reconcile.watched import WATCHED
from qwen3_operator.settings import Settings

NS, NAME, POD = "team", "chat", "chat-1-a"
BASE = "Qwen/Qwen3-0.6B"
SQL, LAW = {"name": "sql", "id": "me/sql"}, {"name": "law", "id": "me/law"}
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
Object = dict[str, Any]


class World:
    """A namespace with one Qwen3Deployment."""

    def __init__(self, **engine: Any) -> None:
        self.cluster, self.users, self.heard = MemoryCluster(), ModelUsers(), Heard()
        labels = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
        node = {"metadata": {"name": "node", "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
        self.cluster.put(NODES, node)
        spec = Q3d(NAME).engine(**engine).spec
        self.cluster.put(QWEN3_DEPLOYMENTS, {"metadata": {"namespace": NS, "name": NAME}, "spec": spec})

    @property
    def obj(self) -> Object:
        return self.cluster.objects["Qwen3Deployment", NS, NAME]

    def edit(self, **engine: Any) -> None:
        self.obj["spec"]["engine"] |= engine
        self.obj["metadata"]["generation"] += 1

    async def reconcile(self) -> Object:
        """Reconcile until nothing is written any more; returns the status, which the schema takes."""
        for _ in range(6):
            before = len(self.cluster.writes)
            client, store = cast(Cluster, self.cluster), Store(WATCHED)
            nodes = Nodes(store)
            self.cluster.show(store)
            settings = Settings(engine_image="vllm/vllm-openai:v0.33.0", identity="test")
            recorder, users, heard = Recorder(client, "test"), self.users, self.heard
            context = Context(
                client, store, settings, recorder, nodes, users=users, adapters_heard=heard, now=lambda: NOW
            )
            self.again = await reconcile_deployment(context, Key("Qwen3Deployment", NS, NAME))
            if len(self.cluster.writes) == before:
                break
        status: Object = self.obj["status"]
        Qwen3DeploymentStatus.model_validate(status)
        return status

    def models(self) -> dict[str, Object]:
        """The Qwen3Models by the id of what they hold."""
        return {model["spec"]["id"]: model for model in self.cluster.of(QWEN3_MODELS)}

    def ready(self, model_id: str, **copy: Any) -> None:
        """The download of a Qwen3Model has ended."""
        model = self.models()[model_id]
        claim = (model["spec"].get("adapterOf") or model["metadata"])["name"]
        if not self.cluster.of(CLAIMS):
            self.cluster.put(CLAIMS, {"metadata": {"namespace": NS, "name": claim, "uid": "c"}, "spec": {}})
        found = {"commit": "c0ffee", "revision": model["spec"]["revision"], "claim": claim, "claimUid": "c"}
        place = f"{model_id.split('/')[1]}-{model['spec']['revision']}"
        condition = {"type": "Ready", "status": "True", "reason": "Ready", "message": "in place"}
        model["status"] = {"conditions": [condition], "model": found | {"path": place, "bytes": 100} | copy}

    def adapter_ready(self, model_id: str, rank: int = 8, base: str = BASE, **shapes: Any) -> None:
        lora = {"rank": rank, "layers": 28, "modules": {"q_proj": [1024, 2048]}} | shapes
        config = {"peft_type": "LORA", "r": rank, "base_model_name_or_path": base}
        self.ready(model_id, config=config, checkpoint={"lora": lora}, weightsBytes=90)

    async def base_ready(self) -> None:
        await self.reconcile()
        self.ready(BASE, config=CONFIG, weightsBytes=1_503_300_328)
        await self.reconcile()

    async def serving(self, **says: Any) -> Object:
        """The servers of the present template are up. `says`: what the one server's log says of its adapters."""
        server = self.server()
        count = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), 1)
        server["status"] = count | {"observedGeneration": server["metadata"]["generation"]}
        owner = {"kind": "ReplicaSet", "name": "chat-1", "uid": "r", "controller": True}
        meta = {"namespace": NS, "name": POD, "labels": server_labels(NAME), "ownerReferences": [owner]}
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Ready")]
        if not self.cluster.of(PODS):
            spec = {"nodeName": "node", "containers": []}
            self.cluster.put(PODS, {"metadata": meta, "spec": spec, "status": {"conditions": conditions}})
        self.cluster.put(REPLICA_SETS, replica_set(owner, server))
        if says:
            self.say(**says)
        return await self.reconcile()

    def say(self, version: str = "", served: Any = (), **failed: str) -> None:
        words = {"version": version or list_version(self.listed()), "served": list(served), "failed": failed}
        self.cluster.pod_logs[POD] = f"INFO: a line\n(APIServer pid=1) qwen3: adapters {json.dumps(words)}\nINFO: more"

    def server(self) -> Object:
        return self.cluster.objects["Deployment", NS, NAME]

    def template(self) -> Object:
        template: Object = json.loads(json.dumps(self.server()["spec"]["template"]))
        return template

    def flags(self) -> dict[str, str]:
        words = self.template()["spec"]["containers"][0]["args"]
        return {w: words[i + 1] if i + 1 < len(words) else "" for i, w in enumerate(words) if "lora" in w}

    def listed(self) -> dict[str, str]:
        """The list that the servers follow: name -> folder in the volume."""
        given = json.loads(self.cluster.objects["ConfigMap", NS, "chat-adapters"]["data"]["adapters.json"])
        return {it["name"]: it["path"].removeprefix("/models/") for it in given["adapters"]}


def condition(status: Object, kind: str) -> tuple[str, str]:
    found = next(c for c in status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


def message(status: Object, kind: str) -> str:
    return str(next(c["message"] for c in status["conditions"] if c["type"] == kind))


async def starting(**engine: Any) -> World:
    """Servers are made with an adapter, and have not said yet that they have it."""
    world = World(loraAdapters=[SQL], **engine)
    await world.base_ready()
    world.adapter_ready("me/sql")
    await world.reconcile()
    return world


async def with_sql(**engine: Any) -> World:
    """A server that serves one adapter."""
    world = await starting(**engine)
    await world.serving(served=["sql"])
    return world


async def test_the_first_servers_wait_for_every_adapter() -> None:
    world = World(loraAdapters=[SQL])
    await world.base_ready()
    model = world.models()["me/sql"]
    base = world.models()[BASE]["metadata"]["name"]
    assert model["spec"]["adapterOf"] == {"name": base}
    assert [owner["name"] for owner in model["metadata"]["ownerReferences"]] == [NAME]
    assert not world.cluster.of(DEPLOYMENTS), "how much room it needs is not known"
    status = await world.reconcile()
    assert condition(status, "ModelReady") == ("False", "Waiting") and "adapter sql" in message(status, "ModelReady")

    world.adapter_ready("me/sql")
    await world.reconcile()
    assert world.flags() == {
        "--enable-lora": "--max-lora-rank",
        "--max-lora-rank": "16",
        "--max-loras": "4",
        "--max-cpu-loras": "32",
    }
    assert world.listed() == {"sql": "sql-master"}
    pod = world.template()["spec"]
    assert {"name": "adapters", "configMap": {"name": "chat-adapters"}} in pod["volumes"]
    variables = {it["name"]: it.get("value") for it in pod["containers"][0]["env"]}
    assert variables["QWEN3_ADAPTERS"] == "/etc/qwen3/adapters/adapters.json"


async def test_ready_is_when_every_server_has_said_so() -> None:
    world = await starting()
    status = await world.serving()
    assert condition(status, "Available") == ("False", "AdaptersPending")
    assert "0 of 1 ready servers" in message(status, "Available") and world.again is not None
    status = await world.serving(version="another", served=["sql"])
    assert condition(status, "Available") == ("False", "AdaptersPending")
    status = await world.serving(served=["sql"])
    assert condition(status, "Ready") == ("True", "Serving")
    (entry,) = status["adapters"]
    assert entry["ready"] and (entry["rank"], entry["revision"], entry["commit"]) == (8, "master", "c0ffee")
    world.cluster.pod_logs, world.cluster.logs_read = {}, []
    assert condition(await world.reconcile(), "Ready") == ("True", "Serving")
    assert not world.cluster.logs_read, "who has said it is not asked again"


async def test_a_server_that_started_anew_has_to_say_it_again() -> None:
    world = await with_sql()
    status = world.cluster.objects["Pod", NS, POD]["status"]
    status["containerStatuses"] = [{"name": "vllm", "containerID": "containerd://second", "restartCount": 1}]
    world.cluster.pod_logs = {}
    assert condition(await world.reconcile(), "Available") == ("False", "AdaptersPending")
    world.say(served=["sql"])
    assert condition(await world.reconcile(), "Ready") == ("True", "Serving")


async def test_another_operator_asks_every_server_and_believes_no_status() -> None:
    world = await with_sql()
    world.heard, world.cluster.pod_logs = Heard(), {}
    assert condition(await world.reconcile(), "Available") == ("False", "AdaptersPending")


async def test_adapters_come_and_go_without_a_restart() -> None:
    world = await with_sql()
    before = world.template()
    world.edit(loraAdapters=[SQL, LAW])
    status = await world.reconcile()
    assert world.listed() == {"sql": "sql-master"} and condition(status, "Available") == ("False", "Waiting")
    assert {entry["name"]: entry["ready"] for entry in status["adapters"]} == {"sql": True, "law": False}
    world.adapter_ready("me/law", rank=16)
    status = await world.reconcile()
    assert world.listed() == {"sql": "sql-master", "law": "law-master"}
    assert condition(status, "Available") == ("False", "AdaptersPending")
    status = await world.serving(served=["law", "sql"])
    assert condition(status, "Ready") == ("True", "Serving")
    world.edit(loraAdapters=[LAW])
    await world.reconcile()
    assert world.listed() == {"law": "law-master"} and "me/sql" not in world.models()
    assert world.template() == before


async def test_an_adapters_model_that_cannot_be_read_is_not_written_again_and_again() -> None:
    world = await with_sql()
    deep: Any = {}
    for _ in range(230):
        deep = {"a": deep}
    world.models()["me/sql"]["spec"]["scheduling"] = {"affinity": deep}
    world.cluster.put(QWEN3_MODELS, world.models()["me/sql"])
    await world.reconcile()
    world.cluster.writes.clear()
    await world.reconcile()
    assert world.cluster.writes == []


async def test_another_revision_is_served_once_it_is_there() -> None:
    world = await with_sql()
    before = world.template()
    world.edit(loraAdapters=[SQL | {"revision": "v2"}])
    await world.reconcile()
    assert world.listed() == {"sql": "sql-master"}, "the one before, until then"
    world.adapter_ready("me/sql")
    await world.reconcile()
    assert world.listed() == {"sql": "sql-v2"} and world.template() == before


async def test_a_larger_rank_makes_new_servers() -> None:
    world = await with_sql()
    world.edit(loraAdapters=[SQL, LAW])
    await world.reconcile()
    world.adapter_ready("me/law", rank=48)
    await world.reconcile()
    assert world.flags()["--max-lora-rank"] == "64"


async def test_room_that_is_asked_for_ahead_saves_the_restart() -> None:
    world = World(maxLoraRank=64, maxLoras=2)
    await world.base_ready()
    assert world.flags()["--max-lora-rank"] == "64" and world.flags()["--max-loras"] == "2"
    assert world.listed() == {}
    before = world.template()
    world.edit(loraAdapters=[SQL])
    await world.reconcile()
    world.adapter_ready("me/sql", rank=64)
    await world.reconcile()
    assert world.listed() == {"sql": "sql-master"} and world.template() == before


async def test_the_first_adapter_of_servers_that_run_restarts_them_once() -> None:
    world = World()
    await world.base_ready()
    await world.serving()
    before = world.template()
    assert "--enable-lora" not in world.flags()
    world.edit(loraAdapters=[SQL])
    await world.reconcile()
    assert world.template() == before, "its rank is not known yet"
    world.adapter_ready("me/sql", rank=64)
    await world.reconcile()
    assert world.flags()["--max-lora-rank"] == "64"


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ({"base": "Qwen/Qwen3-8B"}, "it was made for Qwen/Qwen3-8B"),
        ({"modules": {"q_proj": [4096, 4096]}}, "its q_proj is 4096 x 4096, and the model's 1024 x 2048"),
        ({"layers": 36}, "it has layer 35, and the model's last is 27"),
        ({"rank": 513}, "rank 513, more than 512"),
    ],
)
async def test_an_adapter_of_another_model_is_not_served(adapter: Object, words: str) -> None:
    world = await with_sql()
    before = world.template()
    world.edit(loraAdapters=[SQL, LAW])
    await world.reconcile()
    world.adapter_ready("me/law", **adapter)
    status = await world.reconcile()
    assert world.listed() == {"sql": "sql-master"} and world.template() == before
    assert condition(status, "Available") == ("False", "AdapterUnsuitable") and words in message(status, "Available")
    assert condition(status, "Stalled") == ("True", "AdapterUnsuitable")
    assert [entry["ready"] for entry in status["adapters"]] == [True, False]


async def test_what_vllm_refuses_is_reported() -> None:
    world = await starting()
    status = await world.serving(sql="expected target modules in ['q_proj'] but received ['lm_head']")
    assert condition(status, "Available") == ("False", "AdapterRefused")
    assert "vLLM says: expected target modules" in message(status, "Available")


async def test_that_one_could_not_be_taken_away_disturbs_nobody() -> None:
    world = await with_sql()
    world.edit(loraAdapters=[SQL, LAW])
    await world.reconcile()
    world.adapter_ready("me/law")
    await world.reconcile()
    status = await world.serving(served=["law", "old", "sql"], old="the engine is busy")
    assert condition(status, "Ready") == ("True", "Serving")


async def test_what_vllm_is_asked_again_each_minute_waits_for_nobody() -> None:
    world = await starting()
    status = await world.serving(sql="No adapter found for /models/sql-master")
    assert condition(status, "Stalled") == ("False", "NotStalled") and world.again is not None
    assert condition(status, "Reconciling") == ("True", "AdapterRefused")
    status = await world.serving(served=["sql"])
    assert condition(status, "Ready") == ("True", "Serving")


@pytest.mark.parametrize("keda", [True, False])
async def test_servers_that_are_not_wanted_have_no_adapter_to_say(keda: bool) -> None:
    world = await with_sql()
    server = world.server()
    if keda:
        target = {"concurrency": 8}
        world.obj["spec"]["autoscaling"] = {"minReplicas": 0, "maxReplicas": 4, "target": target}
        server["metadata"].setdefault("annotations", {})["serving.qwen3.dev/scaled-by"] = "keda"
    else:
        world.obj["spec"]["replicas"] = 0
    world.edit()
    server["spec"]["replicas"] = 0
    server["metadata"]["generation"] += 1
    server["status"] = {"observedGeneration": server["metadata"]["generation"]}
    del world.cluster.objects["Pod", NS, POD]
    status = await world.reconcile()
    assert condition(status, "Ready") == ("True", "ScaledToZero")
    assert [entry["ready"] for entry in status["adapters"]] == [True]
    world.edit(loraAdapters=[SQL, LAW])
    status = await world.reconcile()
    assert condition(status, "Available") == ("False", "Waiting"), "they would not start with it"


def no_sense(world: World) -> None:
    world.models()[BASE]["status"]["model"]["config"] = {"model_type": "qwen3", "num_hidden_layers": "many"}


def not_to_be_read(world: World) -> None:
    model = world.models()[BASE]
    named(world, model)
    model["spec"]["revision"] = {"a": "b"}
    world.cluster.put(QWEN3_MODELS, model)


def away(world: World) -> None:
    model = world.models()[BASE]
    named(world, model)
    del world.cluster.objects["Qwen3Model", NS, model["metadata"]["name"]]


def named(world: World, model: Object) -> None:
    """By spec.modelRef: it is a platform team's."""
    world.obj["spec"]["modelRef"] = {"name": model["metadata"]["name"]}
    world.obj["spec"].pop("model")
    world.edit()


def refused(world: World) -> None:
    """The API server takes no change of the model."""
    apply = world.cluster.apply

    async def refuses(kind: Any, obj: Object, **more: Any) -> Object:
        if kind == QWEN3_MODELS and not obj["spec"].get("adapterOf"):
            raise ApiError(403, "Forbidden", "a policy")
        return await apply(kind, obj, **more)

    world.cluster.apply = refuses  # type: ignore[method-assign]
    world.obj["spec"]["scheduling"] = {"nodeSelector": {"a": "b"}}
    world.edit()


@pytest.mark.parametrize("trouble", [no_sense, not_to_be_read, away, refused])
async def test_adapters_stay_while_it_is_not_known_which_they_are(trouble: Callable[[World], None]) -> None:
    world = await with_sql()
    trouble(world)
    status = await world.reconcile()
    assert "me/sql" in world.models() and world.listed() == {"sql": "sql-master"}
    assert [entry["name"] for entry in status["adapters"]] == ["sql"]


async def test_a_claim_of_others_has_no_place_for_adapters() -> None:
    world = World(loraAdapters=[SQL])
    world.obj["spec"]["model"]["storage"] = {"existingClaim": {"name": "theirs"}}
    status = await world.reconcile()
    assert condition(status, "Accepted") == ("False", "AdapterWithoutPlace")
    assert list(world.models()) == [BASE]


async def test_the_token_of_somebody_elses_model_is_not_lent() -> None:
    world = World(loraAdapters=[SQL])
    world.obj["spec"]["model"]["tokenSecretRef"] = {"name": "t", "key": "k"}
    await world.reconcile()
    assert world.models()["me/sql"]["spec"]["tokenSecretRef"] == {"name": "t", "key": "k"}
    other = World(loraAdapters=[SQL])
    other.cluster.objects["Qwen3Model", NS, "shared"] = world.models()[BASE] | {
        "metadata": {"namespace": NS, "name": "shared", "uid": "s", "resourceVersion": "1", "creationTimestamp": "x"}
    }
    other.obj["spec"] = {"modelRef": {"name": "shared"}, "engine": {"loraAdapters": [SQL]}}
    await other.reconcile()
    adapter = other.models()["me/sql"]["spec"]
    assert adapter["adapterOf"] == {"name": "shared"} and "tokenSecretRef" not in adapter
