"""Make a tiny Qwen3-VL of the tiny Qwen3: its language model, and eyes that were never trained.

    python make_tiny_qwen3_vl.py OUT_DIR

Needs vLLM's CPU bundle, or torch, transformers and safetensors; no network. What it says to a text is what the tiny
Qwen3 says; what it says to an image means nothing, and is the same each time.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TINY = Path(__file__).with_name("tiny-qwen3")
IMAGE, VIDEO, BEGIN, END = "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"
PATCHES = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
EYES = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 4,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
    "initializer_range": 0.5,  # so that two images are two things
}
LIMITS = {"shortest_edge": 32 * 32, "longest_edge": 256 * 256}
"""Pixels of an image."""


def main(out: Path) -> None:
    shutil.copytree(TINY, out, ignore=shutil.ignore_patterns("config.json", "model.safetensors"))
    tokens = add_tokens(out / "tokenizer.json", (IMAGE, VIDEO, BEGIN, END))
    write_model(out, tokens)
    shutil.copy(TINY / "generation_config.json", out)  # not what transformers made of it
    write(out / "preprocessor_config.json", image_processor_type="Qwen2VLImageProcessorFast", size=LIMITS, **PATCHES)
    write(out / "video_preprocessor_config.json", video_processor_type="Qwen3VLVideoProcessor", size=LIMITS, **PATCHES)


def add_tokens(path: Path, tokens: Sequence[str], *, special: bool = True) -> list[int]:
    """Put tokens into a tokenizer.json; their ids."""
    content = json.loads(path.read_text(encoding="utf-8"))
    first = max(token["id"] for token in content["added_tokens"]) + 1
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}
    content["added_tokens"] += [{"id": first + i, "content": token} | plain for i, token in enumerate(tokens)]
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return list(range(first, first + len(tokens)))


def write_model(out: Path, tokens: list[int]) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    torch.manual_seed(0)
    said = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    kept = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim")
    text = {name: said[name] for name in (*kept, "num_key_value_heads", "max_position_embeddings", "rms_norm_eps")}
    text |= {name: said[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    rope = said["rope_parameters"] | {"mrope_section": [6, 5, 5], "mrope_interleaved": True}  # of head_dim / 2
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = Qwen3VLConfig(
        text_config=text | {"rope_parameters": rope, "tie_word_embeddings": True},
        vision_config=EYES | {"out_hidden_size": text["hidden_size"]},
        tie_word_embeddings=True,
        **dict(zip(names, tokens, strict=True)),
    )
    model = Qwen3VLForConditionalGeneration(config)
    language = {name.removeprefix("model."): tensor for name, tensor in load_file(TINY / "model.safetensors").items()}
    language.pop("lm_head.weight", None)
    model.model.language_model.load_state_dict(language)
    model.to(torch.bfloat16).save_pretrained(out)


def write(path: Path, **content: Any) -> None:
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
