"""What the files of a checkpoint say about it, copied within bounds: the facts that planning a server needs.

Nothing is decided here. The operator alone reads what these facts mean (qwen3_operator/catalog), from this copy as from
a whole config.json: so each keeps the place and the name that it has in its file. What must stay small is the kubelet's
termination message, 4096 bytes in all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen3_download.reading import read_json, read_text
from qwen3_download.template import describe
from qwen3_download.tensors import read_tensors

KEYS = frozenset(
    (
        *("architectures", "model_type", "hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"),
        *("tie_word_embeddings", "torch_dtype", "dtype", "rope_theta", "attn_output_gate"),
        *("num_experts", "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size"),
        *("decoder_sparse_step", "mlp_only_layers", "full_attention_interval", "mamba_ssm_dtype"),
        *("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim"),
        *("linear_conv_kernel_dim", "num_nextn_predict_layers", "mtp_num_hidden_layers"),
        *("depth", "out_hidden_size", "spatial_merge_size", "deepstack_visual_indexes"),
        *("encoder_layers", "d_model", "encoder_ffn_dim"),
        *("quant_method", "quant_algo", "bits", "w_bit", "num_bits", "group_size", "q_group_size"),
        *("weight_block_size", "format", "load_in_4bit", "load_in_8bit", "_load_in_4bit"),
    )
)
"""Names whose values are copied, wherever they stand in PARTS."""
PARTS = frozenset(
    (
        *("text_config", "thinker_config", "vision_config", "audio_config"),
        *("quantization_config", "compression_config", "quantization", "weights"),
    )
)
"""Maps whose members are read too."""
WHOLE = frozenset(("rope_scaling", "rope_parameters"))
"""Maps that are copied as they are: an override of the length must repeat them."""
GROUPS = "config_groups"
COUNTED = "layer_types"
"""A list with an item for each layer, copied as the number of each: {"linear_attention": 48, "full_attention": 16}."""

_DEEPEST = 5
_MOST_ITEMS = 64
_MOST_GROUPS = 4
_LONGEST = 128


def read_facts(folder: Path) -> dict[str, Any]:
    """The facts of FOLDER/config.json by config.json's own names; {} where there is none that can be read."""
    config = read_json(folder / "config.json")
    return pick(config) if isinstance(config, Mapping) else {}


def read_files(folder: Path) -> dict[str, Any]:
    """What the files beside config.json say: quantization, tensors, template, modules. Empty ones are left out."""
    quantization, modules = read_json(folder / "hf_quant_config.json"), read_json(folder / "modules.json")
    listed = modules if isinstance(modules, list) else []
    kinds = [str(m["type"]).rpartition(".")[2] for m in listed[:8] if isinstance(m, Mapping) and "type" in m]
    found = {
        "quantization": pick(quantization) if isinstance(quantization, Mapping) else {},
        "tensors": read_tensors(folder),
        "template": describe(chat_template(folder)),
        "modules": [kind[:_LONGEST] for kind in kinds],
    }
    return {name: value for name, value in found.items() if value}


def pick(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config.json, or of a file like it, that the operator reads."""
    return _pick(config, _DEEPEST)


def _pick(config: Mapping[str, Any], depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            if key in PARTS and depth > 1:
                found[key] = _pick(value, depth - 1)
            elif key in WHOLE and len(value) <= _MOST_ITEMS:
                found[key] = {str(k): v for k, v in value.items() if is_small(v)}
            elif key == GROUPS and depth > 1:
                groups = [g for g in list(value.values())[:_MOST_GROUPS] if isinstance(g, Mapping)]
                found[key] = {f"group_{n}": _pick(group, depth - 1) for n, group in enumerate(groups)}
        elif key == COUNTED and isinstance(value, list):
            found[key] = dict(Counter(str(kind)[:_LONGEST] for kind in value).most_common(8))
        elif key in KEYS and is_small(value):
            found[key] = value
    return found


def is_small(value: Any) -> bool:
    """Whether a value is short enough to be copied: a number, a word, or a list of them."""
    if isinstance(value, list):
        return len(value) <= _MOST_ITEMS and all(not isinstance(v, list | dict) and is_small(v) for v in value)
    if isinstance(value, float):
        return math.isfinite(value)  # JSON has no others
    return isinstance(value, bool | int) or (isinstance(value, str) and len(value) <= _LONGEST)


def chat_template(folder: Path) -> str:
    """The text of the chat template, from where transformers reads it; empty where there is none."""
    if (text := read_text(folder / "chat_template.jinja")) is not None:
        return text
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = read_json(folder / name)
        template = found.get("chat_template") if isinstance(found, Mapping) else None
        if isinstance(template, list):  # several, by name
            named = [t for t in template if isinstance(t, Mapping) and t.get("name") == "default"]
            template = named[-1].get("template") if named else None
        if isinstance(template, str) and template:
            return template
    return ""
