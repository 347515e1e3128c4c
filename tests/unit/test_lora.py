"""LoRA adapters in a plan: the room for them, what they are checked for, and what they exclude."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.cluster.downloads import CONFIG
from tests.cluster.wrappers import Q3d

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import AdapterFacts, ModelFacts, lookup, names_model
from qwen3_operator.desired.made_from import inputs_of
from qwen3_operator.desired.server import server_template
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.load import Load
from qwen3_operator.engine.lora import Lora, buffer_bytes, lora_in, rank_for
from qwen3_operator.engine.memory import GIB, predict
from qwen3_operator.engine.overhead import full_graphs
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.plan.lora import Adapter, lora_for
from qwen3_operator.settings import Settings

BASE = "Qwen/Qwen3-0.6B"
FACTS = ModelFacts.from_config(CONFIG)
SQL = {"name": "sql", "id": "me/sql"}
FITS = AdapterFacts(rank=8, base=BASE, layers=28, modules={"q_proj": (1024, 2048), "down_proj": (3072, 1024)})


def spec_of(**engine: Any) -> Qwen3DeploymentSpec:
    return Qwen3DeploymentSpec.model_validate(Q3d().engine(**{"loraAdapters": [SQL]} | engine).spec)


def plan_of(spec: Qwen3DeploymentSpec, adapter: AdapterFacts = FITS) -> Plan:
    weights = Weights("w", "p", FACTS, adapters=(Adapter("sql", "sql-1", adapter),))
    return make_plan(weights, spec, Settings(identity="t", engine_image="vllm/vllm-openai:v0.33.0"))


def problems(plan: Plan) -> dict[str, str]:
    return {str(problem.reason): problem.message for problem in (*plan.problems, *plan.warnings)}


@pytest.mark.parametrize(
    ("needed", "rank"), [(0, 8), (8, 8), (9, 16), (16, 16), (48, 64), (300, 320), (512, 512), (900, 512)]
)
def test_ranks_are_those_that_vllm_takes(needed: int, rank: int) -> None:
    assert rank_for(needed) == rank


def test_room_stays_as_it_was_made_while_it_suffices() -> None:
    engine = spec_of().engine
    small, large = (Adapter(name, name, replace(FITS, rank=rank)) for name, rank in (("a", 8), ("b", 64)))
    assert lora_for(engine, [small], None) == Lora(16, 4)
    assert lora_for(engine, [small, large], Lora(16, 4)) == Lora(64, 4)
    assert lora_for(engine, [small], Lora(64, 4)) == Lora(64, 4)
    assert lora_for(spec_of(maxLoraRank=32, maxLoras=1).engine, [small], Lora(64, 4)) == Lora(32, 1)
    assert lora_for(spec_of(loraAdapters=[]).engine, [], Lora(64, 4)) is None
    assert lora_for(spec_of(loraAdapters=[], maxLoraRank=8).engine, [], None) == Lora(8, 4)


def test_the_command_line_says_the_room_and_no_adapter() -> None:
    plan = plan_of(spec_of())
    assert not problems(plan)
    assert lora_in(plan.command) == Lora(16, 4) and "--lora-modules" not in plan.command
    assert lora_in(plan_of(spec_of(loraAdapters=[])).command) is None
    template = server_template("chat", spec_of(), plan, Settings(identity="t"))
    assert "me/sql" not in str(template) and "sql-1" not in str(template)


def test_adapters_are_no_part_of_what_servers_are_made_from() -> None:
    weights = Weights("w", "p", FACTS, lora=Lora(16, 4))
    one, two = spec_of(), spec_of(loraAdapters=[SQL, {"name": "law", "id": "me/law"}])
    assert inputs_of(one, weights, "") == inputs_of(two, weights, "")
    assert inputs_of(one, weights, "") != inputs_of(one, replace(weights, lora=Lora(64, 4)), "")
    plain = Weights("w", "p", FACTS)
    assert inputs_of(one, plain, "") == inputs_of(spec_of(loraAdapters=[]), plain, "")


@pytest.mark.parametrize(
    ("adapter", "reason", "words"),
    [
        (replace(FITS, base="Qwen/Qwen3-8B"), "AdapterUnsuitable", "it was made for Qwen/Qwen3-8B"),
        (replace(FITS, base="/mnt/base"), "AdapterDoubtful", "by its shape alone"),
        (replace(FITS, base=""), "AdapterDoubtful", "it does not say for which"),
        (replace(FITS, layers=29), "AdapterUnsuitable", "layer 28, and the model's last is 27"),
        (replace(FITS, modules={"k_proj": (1024, 512)}), "AdapterUnsuitable", "its k_proj is 1024 x 512"),
        (replace(FITS, faults=("DoRA",)), "AdapterUnsuitable", "vLLM does not serve adapter sql: DoRA"),
        (replace(FITS, rank=0), "AdapterUnsuitable", "tells no rank"),
        (replace(FITS, rank=600), "AdapterUnsuitable", "vLLM takes no larger one"),
    ],
)
def test_an_adapter_is_checked_against_its_model(adapter: AdapterFacts, reason: str, words: str) -> None:
    assert words in problems(plan_of(spec_of(), adapter))[reason]


def test_a_rank_beyond_the_specs_own_bound_is_reported() -> None:
    words = problems(plan_of(spec_of(maxLoraRank=8), replace(FITS, rank=16)))["AdapterUnsuitable"]
    assert words.endswith("raise spec.engine.maxLoraRank")


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ({"env": [{"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "1"}]}, "could load any adapter"),
        ({"env": [{"name": "QWEN3_ADAPTERS", "value": ""}]}, "where the list of its adapters is"),
        ({"extraArgs": ["--api-server-count", "2"]}, "one API server in each pod alone"),
        ({"loraAdapters": [{"name": "Qwen3-0.6B", "id": "me/sql"}]}, "give each its own"),
    ],
)
def test_what_adapters_exclude(engine: dict[str, Any], words: str) -> None:
    assert words in problems(plan_of(spec_of(**engine)))["AdaptersExcluded"]


def test_flags_are_the_operators_once_there_are_adapters() -> None:
    given = ["--enable-lora", "--lora-modules", "a=/b"]
    assert "spec.engine.loraAdapters" in problems(plan_of(spec_of(extraArgs=given)))["OwnedArgument"]
    assert not problems(plan_of(spec_of(loraAdapters=[], extraArgs=given)))


def test_an_older_vllm_is_refused() -> None:
    assert "middleware" in problems(plan_of(spec_of(version="0.10.0")))["UnsupportedByEngine"]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"peft_type": "LOHA"}, "it is LOHA"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["lm_head"]}, "whole modules"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa"),
        ({"layer_replication": True}, "layer_replication"),
    ],
)
def test_what_vllm_cannot_do_is_seen(said: dict[str, Any], fault: str) -> None:
    (found,) = AdapterFacts.from_record({"r": 8} | said).faults
    assert fault in found


def test_a_record_of_anybody_is_read_within_bounds() -> None:
    plain = {"r": 8, "bias": "none", "init_lora_weights": True, "use_rslora": True, "modules_to_save": []}
    assert AdapterFacts.from_record(plain | {"rank_pattern": 32}).rank == 32
    assert not AdapterFacts.from_record(plain | {"init_lora_weights": "gaussian"}).faults
    strange = {"lora": {"rank": "x", "layers": -1, "modules": {"q_proj": [1], "k_proj": "x", "v_proj": [2**60, 4]}}}
    it = AdapterFacts.from_record({"r": 2**60, "base_model_name_or_path": 7}, strange)
    assert (it.rank, it.base, it.layers, dict(it.modules)) == (0, "", 0, {"v_proj": (0, 4)})
    assert AdapterFacts.from_record({}, {"lora": []}).rank == 0


@pytest.mark.parametrize(
    ("base", "served", "same"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B-FP8", True),
        ("Qwen/Qwen3-8B-AWQ", "Qwen/Qwen3-8B", True),
        ("/root/.cache/modelscope/hub/models/Qwen/Qwen3-0___6B", "Qwen/Qwen3-0.6B", True),
        ("/data/models--Qwen--Qwen3-8B/snapshots/b968826d9c46dd6066d109eabc6255188de91218", "Qwen/Qwen3-8B", True),
        ("C:\\models\\Qwen3-8B", "Qwen/Qwen3-8B", True),
        ("Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B", False),
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B", False),
        ("Qwen/Qwen3-8B", "acme/support-8b", None),
        ("acme/support-8b", "acme/support-8b", True),
        ("/mnt/output/checkpoint-500", "Qwen/Qwen3-8B", None),
        ("", "Qwen/Qwen3-8B", None),
    ],
)
def test_the_models_name_is_found_in_what_trainings_write(base: str, served: str, same: bool | None) -> None:
    assert names_model(base, served) is same


def test_the_fit_counts_the_room() -> None:
    entry = lookup("Qwen/Qwen3-8B")
    assert entry and entry.facts
    load = Load(facts=entry.facts, gpu=Gpu.from_spec(80, None), version=EngineVersion.of("0.33.0"))
    plain, adapted = predict(load), predict(replace(load, lora=Lora(64, 4)))
    buffers, graphs = buffer_bytes(entry.facts, Sharding(), Lora(64, 4)) / GIB, full_graphs(1024) * 36 * 0.16 / 1024
    assert adapted.overhead_gib - plain.overhead_gib == pytest.approx(buffers + graphs)
    assert adapted.kv_tokens < plain.kv_tokens and adapted.margin_gib >= 0.03 * adapted.requested_gib
    assert "LoRA adapters (room for 4 of rank 64 is counted)" in adapted.unmeasured


def test_the_room_is_what_vllm_allocates() -> None:
    """Qwen3-8B by hand: A and B of qkv, o, gate and up, down in 36 layers, and of embedding and lm_head."""
    entry = lookup("Qwen/Qwen3-8B")
    assert entry and entry.facts
    qkv, o = 3 * 4096 + 4096 + 2 * 1024, 4096 + 4096
    mlp = 2 * 4096 + 2 * 12288 + 12288 + 4096
    numbers = 36 * (qkv + o + mlp) + 2 * (151936 + 4096)
    assert buffer_bytes(entry.facts, Sharding(), Lora(16, 2)) == 2 * 2 * 16 * numbers
    halves = 36 * (3 * 4096 + 6144 / 2 + 4096 / 2 + 4096 + 2 * 4096 + 12288 + 12288 / 2 + 4096) + 2 * (151936 + 4096)
    assert buffer_bytes(entry.facts, Sharding(2), Lora(16, 2)) == 2 * 2 * 16 * halves
