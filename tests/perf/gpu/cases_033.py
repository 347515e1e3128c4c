"""Starts of vLLM 0.33: what was unmeasured (FlashInfer, DeepGEMM, dense models on several GPUs), and held-out ones.

PYTHONPATH=operator:. python -m tests.perf.gpu.cases_033: predictions_033.json, what the formula says before a start.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.perf.gpu.checkpoint import write_checkpoint

from qwen3_operator.catalog import ModelFacts, lookup
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.load import Load
from qwen3_operator.engine.lora import Lora, buffer_bytes
from qwen3_operator.engine.memory import GIB, predict
from qwen3_operator.engine.overhead import editions_for
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding

VERSION = EngineVersion.of("0.33.0")
PREDICTIONS = Path(__file__).with_name("predictions_033.json")


@dataclass(frozen=True, kw_only=True)
class Case033:
    name: str
    model: str
    seqs: int = 1024
    batch: int = 8192
    utilization: float = 0.92
    length: int = 8192
    tp: int = 1
    eager: bool = False
    cache: str = "auto"
    sampler: bool = True
    """FlashInfer's; False turns it off."""
    lora: Lora | None = None
    held_out: bool = False
    """In no table that the formula was fitted to, and not like a row of one."""

    @property
    def facts(self) -> ModelFacts:
        entry = lookup(f"Qwen/{self.model}")
        assert entry is not None and entry.facts is not None, self.model
        return entry.facts

    @property
    def pooling(self) -> bool:
        return "Embedding" in self.model

    @property
    def flags(self) -> list[str]:
        """Of `vllm serve`: those that decide memory, and those that the operator always gives."""
        words = ["--gpu-memory-utilization", f"{self.utilization:.2f}", "--max-model-len", str(self.length)]
        words += ["--max-num-seqs", str(self.seqs), "--max-num-batched-tokens", str(self.batch)]
        words += ["--kv-cache-dtype", self.cache] if self.cache != "auto" else []
        words += ["--enforce-eager"] if self.eager else []
        if self.lora is not None:
            words += ["--enable-lora", "--max-lora-rank", str(self.lora.max_rank)]
            words += ["--max-loras", str(self.lora.max_loras), "--max-cpu-loras", str(self.lora.max_cpu_loras)]
        if self.pooling:
            return [*words, "--runner", "pooling"]
        words += ["--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        if self.tp > 1:
            # FlashInfer's fused all-reduce takes NVLink multicast, which the machine must not use.
            fusion = json.dumps({"pass_config": {"fuse_allreduce_rms": False}})
            words += ["--tensor-parallel-size", str(self.tp), "--compilation-config", fusion]
        return words

    def load(self, card: str) -> Load:
        gpu = Gpu.named(card)
        assert gpu is not None
        return Load(
            facts=self.facts,
            gpu=gpu,
            version=VERSION,
            sharding=Sharding(self.tp),
            utilization=self.utilization,
            kv_cache_dtype=self.cache,
            max_num_seqs=self.seqs,
            max_num_batched_tokens=self.batch,
            enforce_eager=self.eager,
            pooling=self.pooling,
            flashinfer_sampler=self.sampler,
            lora=self.lora,
        )


CASES = (
    # DeepGEMM first: compiling its kernels takes longest.
    Case033(name="32B-FP8", model="Qwen3-32B-FP8"),
    Case033(name="14B-FP8-256x2048", model="Qwen3-14B-FP8", seqs=256, batch=2048, utilization=0.6),
    Case033(name="30B-A3B-FP8", model="Qwen3-30B-A3B-FP8"),
    Case033(name="8B-FP8-512x4096", model="Qwen3-8B-FP8", seqs=512, batch=4096, utilization=0.8, held_out=True),
    Case033(name="8B", model="Qwen3-8B"),
    Case033(name="0.6B", model="Qwen3-0.6B"),
    Case033(name="30B-A3B", model="Qwen3-30B-A3B"),
    Case033(name="14B-512x4096-util85", model="Qwen3-14B", seqs=512, batch=4096, utilization=0.85, held_out=True),
    Case033(name="8B-256x2048", model="Qwen3-8B", seqs=256, batch=2048, utilization=0.5),
    Case033(name="1.7B-1536x16384", model="Qwen3-1.7B", seqs=1536, batch=16384, utilization=0.9, held_out=True),
    Case033(name="30B-A3B-512x4096", model="Qwen3-30B-A3B", seqs=512, batch=4096, held_out=True),
    Case033(name="4B-AWQ", model="Qwen3-4B-AWQ", held_out=True),
    Case033(name="8B-eager", model="Qwen3-8B", eager=True),
    Case033(name="8B-kvfp8", model="Qwen3-8B", cache="fp8"),
    Case033(name="32B", model="Qwen3-32B"),
    Case033(name="8B-no-flashinfer", model="Qwen3-8B", sampler=False),
    Case033(name="8B-lora-4x64", model="Qwen3-8B", sampler=False, lora=Lora(64, 4), held_out=True),
    Case033(name="Embedding-4B", model="Qwen3-Embedding-4B", length=32768, held_out=True),
    Case033(name="0.6B-64x2048-eager", model="Qwen3-0.6B", seqs=64, batch=2048, eager=True, held_out=True),
    Case033(name="8B-TP2", model="Qwen3-8B", tp=2),
    Case033(name="32B-TP2", model="Qwen3-32B", tp=2),
    Case033(name="14B-TP2-512x8192", model="Qwen3-14B", seqs=512, tp=2, held_out=True),
    Case033(name="8B-TP2-no-flashinfer", model="Qwen3-8B", tp=2, sampler=False),
    Case033(name="32B-TP4", model="Qwen3-32B", tp=4),
    Case033(name="32B-FP8-TP2-256x4096", model="Qwen3-32B-FP8", seqs=256, batch=4096, tp=2, held_out=True),
)


def prediction(case: Case033) -> dict[str, Any]:
    """GiB of each GPU, whatever the card: weights, overhead with the sampler as the case has it."""
    load = case.load("H200")
    ((_, edition),) = editions_for(VERSION)
    memory = predict(load)
    buffers = buffer_bytes(load.facts, load.sharding, load.lora) / GIB if load.lora else 0.0
    return {
        "held_out": case.held_out,
        "weights_gib": round(memory.weights_gib, 3),
        "overhead_gib": round(edition.overhead_gib(load, load.kind), 3),
        "overhead_without_sampler_gib": round(
            edition.overhead_gib(replace(load, flashinfer_sampler=False), load.kind), 3
        ),
        "held_before_start_gib": round(edition.held_gib(load.facts, load.sharding), 3),
        "unmeasured": list(memory.unmeasured),
        **({"lora_buffers_gib": round(buffers, 3)} if load.lora else {}),
    }


def write_folders(folder: Path) -> None:
    """Checkpoint folders of all models and cases.json, to take to a machine with GPUs."""
    rows = []
    for case in CASES:
        write_checkpoint(folder / case.model, case.facts)
        rows.append(
            {"name": case.name, "model": case.model, "flags": case.flags, "tp": case.tp, "sampler": case.sampler}
        )
    (folder / "cases.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    before = json.loads(PREDICTIONS.read_text(encoding="utf-8")) if PREDICTIONS.exists() else {}
    document = {case.name: before.get(case.name) or prediction(case) for case in CASES}  # what was said stays
    PREDICTIONS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, row in document.items():
        print(f"{name:24}", *row.values())
