"""LoRA adapters on a real API server: their Qwen3Models, Jobs and list; what makes new servers and what does not."""

from __future__ import annotations

import json
from typing import Any

from devcluster.stages import FakeDownload
from tests.cluster.downloads import COMPLETE, stage
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d, Q3m

from qwen3_operator.api.source import ModelSource
from qwen3_operator.naming import adapter_model_name

SQL, LAW = {"name": "sql", "id": "me/sql"}, {"name": "law", "id": "me/law"}


def adapter_report(base: str = "Qwen/Qwen3-0.6B", rank: int = 8) -> FakeDownload:
    """How the downloader reports an adapter."""
    config = {"peft_type": "LORA", "r": rank, "base_model_name_or_path": base}
    lora = {"rank": rank, "layers": 28, "modules": {"q_proj": [1024, 2048]}}
    reported = {"files": 2, "bytes": 2000, "weightsBytes": 1500, "config": config, "checkpoint": {"lora": lora}}
    return FakeDownload(COMPLETE | reported)


def model_of(adapter: dict[str, str]) -> str:
    return adapter_model_name(ModelSource(id=adapter["id"]), shared_name(Q3d()))


def lands(world: World, adapter: dict[str, str], report: FakeDownload) -> None:
    """From now on the downloads of this adapter end so; those of other models as everywhere."""
    world.api.apply(stage(world.namespace, report, only_job_of=model_of(adapter)))


def listed(world: World) -> dict[str, str]:
    found = json.loads(world.must("ConfigMap", "chat-adapters")["data"]["adapters.json"])
    return {it["name"]: it["path"] for it in found["adapters"]}


def rank_of_servers(world: World) -> str:
    words: list[str] = world.container("chat")["args"]
    return words[words.index("--max-lora-rank") + 1]


def adapters_in_status(world: World) -> dict[str, Any]:
    return {it["name"]: it for it in world.must("Qwen3Deployment", "chat")["status"].get("adapters") or ()}


def test_adapters_come_and_go_beside_servers_that_stay(world: World) -> None:
    lands(world, SQL, adapter_report())
    world.apply(Q3d().engine(loraAdapters=[SQL]))
    model = world.wait_ready(model_of(SQL), "Qwen3Model")
    assert model["spec"]["adapterOf"] == {"name": shared_name(Q3d())}
    assert model["status"]["model"]["claim"] == shared_name(Q3d()), "beside its model"
    jobs = [job for job in world.list("Job") if job["metadata"]["name"].startswith(model_of(SQL))]
    assert "--adapter" in jobs[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert len(world.list("PersistentVolumeClaim")) == 1
    world.wait(lambda: "sql" in listed(world), "the list is written")
    world.wait_condition(
        "chat", "Available", "False", reason="AdaptersPending", within=30
    )  # simulated servers say nothing
    assert rank_of_servers(world) == "16"
    before = world.must("Deployment", "chat")["metadata"]["generation"]

    lands(world, LAW, adapter_report(rank=16))
    world.apply(Q3d().engine(loraAdapters=[SQL, LAW]))
    world.wait(lambda: set(listed(world)) == {"sql", "law"}, "both are listed", within=30)
    world.apply(Q3d().engine(loraAdapters=[LAW]))
    world.wait(lambda: set(listed(world)) == {"law"}, "one is gone", within=10)
    world.wait_gone("Qwen3Model", model_of(SQL))
    stays(lambda: world.must("Deployment", "chat")["metadata"]["generation"] == before, seconds=3)
    assert set(adapters_in_status(world)) == {"law"} and adapters_in_status(world)["law"]["rank"] == 16


def test_an_adapter_of_another_model_is_refused_before_anything_starts(world: World) -> None:
    lands(world, SQL, adapter_report(base="Qwen/Qwen3-8B"))
    world.apply(Q3d().engine(loraAdapters=[SQL]))
    reported = world.wait_condition("chat", "Accepted", "False", reason="AdapterUnsuitable", within=30)
    assert "it was made for Qwen/Qwen3-8B" in reported["message"]
    assert not world.list("Deployment")


def test_a_larger_rank_makes_new_servers(world: World) -> None:
    lands(world, SQL, adapter_report(rank=8))
    world.apply(Q3d().engine(loraAdapters=[SQL]))
    world.wait(lambda: rank_of_servers(world) == "16", "there are servers", within=30)
    lands(world, LAW, adapter_report(rank=64))
    world.apply(Q3d().engine(loraAdapters=[SQL, LAW]))
    world.wait(lambda: rank_of_servers(world) == "64", "there is room for it", within=30)


def test_an_adapter_made_ahead_waits_for_its_model(world: World) -> None:
    world.apply(Q3m("sql").set(id="me/sql", adapterOf={"name": "weights"}))
    world.wait_condition("sql", "Accepted", "False", kind="Qwen3Model", reason="Qwen3ModelNotFound")
    world.api.apply(stage(world.namespace, adapter_report(), only_job_of="sql"))
    world.apply(Q3m("weights"))
    world.wait_ready("weights", "Qwen3Model")
    world.wait_ready("sql", "Qwen3Model", within=40)
    assert world.must("Qwen3Model", "sql")["status"]["model"]["claim"] == "weights"
    assert len(world.list("PersistentVolumeClaim")) == 1
