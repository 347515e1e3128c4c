"""A checkpoint folder without weights: for `--load-format dummy`, with the shape of a real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qwen3_operator.catalog import ModelFacts

TINY = Path(__file__).parents[2] / "data" / "tiny-qwen3"


def write_checkpoint(folder: Path, facts: ModelFacts) -> None:
    """config.json of the facts, and a tokenizer that has a text for every id of the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_config(facts)), encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(facts.vocab_size)), encoding="utf-8")
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_text((TINY / name).read_text(encoding="utf-8"), encoding="utf-8")


def _config(facts: ModelFacts) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": list(facts.architectures) or ["Qwen3MoeForCausalLM" if facts.is_moe else "Qwen3ForCausalLM"],
        "model_type": "qwen3_moe" if facts.is_moe else "qwen3",
        "torch_dtype": facts.dtype,
        "hidden_act": "silu",
        "hidden_size": facts.hidden_size,
        "intermediate_size": facts.intermediate_size,
        "num_hidden_layers": facts.num_layers,
        "num_attention_heads": facts.num_attention_heads,
        "num_key_value_heads": facts.num_key_value_heads,
        "head_dim": facts.head_dim,
        "vocab_size": facts.vocab_size,
        "max_position_embeddings": facts.max_position_embeddings,
        "tie_word_embeddings": facts.tie_word_embeddings,
        "rms_norm_eps": 1e-6,
        "rope_theta": facts.rope_theta or 1_000_000,
        "attention_bias": False,
        "eos_token_id": 151645,
    }
    if facts.is_moe:
        config |= {
            "num_experts": facts.experts,
            "num_experts_per_tok": facts.experts_per_token,
            "moe_intermediate_size": facts.moe_intermediate_size,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        }
    quantization = facts.quantization
    if quantization and quantization.method == "fp8":
        config["quantization_config"] = {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "activation_scheme": "dynamic",
            "weight_block_size": list(quantization.block or (128, 128)),
        }
    elif quantization and quantization.method == "awq":
        config["quantization_config"] = {
            "quant_method": "awq",
            "bits": quantization.bits,
            "group_size": quantization.group_size,
            "zero_point": True,
            "version": "gemm",
        }
    return config


def _tokenizer(vocabulary: int) -> dict[str, Any]:
    """The tokenizer of the tiny model with made-up words for the ids it lacks."""
    tokenizer: dict[str, Any] = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["id"] for token in tokenizer["added_tokens"]}
    words: dict[str, int] = tokenizer["model"]["vocab"]
    taken = added | set(words.values())
    words.update({f"Ġw{number}": number for number in range(vocabulary) if number not in taken})
    return tokenizer
