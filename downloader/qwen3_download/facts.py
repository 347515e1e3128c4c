"""What config.json says about the model: the facts that planning a server needs. Pure but for reading one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEYS = (
    *("architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings", "tie_word_embeddings"),
    *("torch_dtype", "dtype", "rope_theta", "rope_scaling", "rope_parameters"),
    *("num_experts", "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size"),
    *("full_attention_interval", "sliding_window", "use_sliding_window"),
    *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"),
    "linear_conv_kernel_dim",
)
QUANTIZATION_KEYS = ("quant_method", "bits", "group_size", "weight_block_size")


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of FOLDER/config.json by config.json's own names; {} where there is none that can be read."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return pick(config) if isinstance(config, dict) else {}


def pick(config: Mapping[str, Any]) -> dict[str, Any]:
    """Selected keys. A vision-language model keeps its text model in `text_config`: the top level wins over it."""
    text = config.get("text_config")
    merged = {**(text if isinstance(text, dict) else {}), **config}
    facts = {key: merged[key] for key in KEYS if merged.get(key) is not None}
    quantization = merged.get("quantization_config")
    if isinstance(quantization, dict):
        facts["quantization_config"] = {k: quantization[k] for k in QUANTIZATION_KEYS if k in quantization}
    return facts
