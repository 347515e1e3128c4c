"""Make a tiny LoRA adapter for tests/data/tiny-qwen3, or another shape: no torch, a few kilobytes, the same each time.

The weights are drawn, not trained: what counts is that the answers are not the base model's.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TINY = Path(__file__).with_name("tiny-qwen3")


def adapter_tensors(config: Mapping[str, Any], rank: int) -> dict[str, tuple[int, int]]:
    """Names and shapes of an adapter of the attention's query and value, and of the MLP's last matrix."""
    hidden, head = config["hidden_size"], config["head_dim"]
    query, value = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    modules = {
        "self_attn.q_proj": (hidden, query),
        "self_attn.v_proj": (hidden, value),
        "mlp.down_proj": (config["intermediate_size"], hidden),
    }
    shapes: dict[str, tuple[int, int]] = {}
    for layer in range(config["num_hidden_layers"]):
        for module, (inputs, outputs) in modules.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            shapes[f"{name}.lora_A.weight"] = (rank, inputs)
            shapes[f"{name}.lora_B.weight"] = (outputs, rank)
    return shapes


def make_adapter(
    folder: Path,
    *,
    base: str = "Qwen/Qwen3-8B",
    rank: int = 8,
    seed: int = 1,
    strength: float = 1.0,
    model: Path = TINY,
    **said: Any,
) -> Path:
    """Write adapter_config.json and adapter_model.safetensors. `said`: more of the configuration."""
    shapes = adapter_tensors(json.loads((model / "config.json").read_text(encoding="utf-8")), rank)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        **said,
    }
    draw, header, data = random.Random(seed), {}, bytearray()
    for name, shape in shapes.items():
        count = shape[0] * shape[1]
        begin = len(data)
        data += struct.pack(f"<{count}f", *(draw.gauss(0, strength) for _ in range(count)))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder
