"""Architecture numbers of a checkpoint, read from its config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from qwen3_operator.controller.decode import depth

MOST_LAYERS = 4096
WIDEST = 2**24
"""No number of a config.json that decides anything is larger: not a width, not a vocabulary, not a length. Numbers and
lists come from whoever owns the repository, so nothing may take longer, or more memory, the larger they are."""
Layers = Annotated[int, Field(ge=0, le=MOST_LAYERS)]
Width = Annotated[int, Field(ge=0, le=WIDEST)]
Word = Annotated[str, StringConstraints(max_length=128)]
_DEEPEST_ROPE, _LONGEST_ROPE = 4, 4096

FACT_KEYS: tuple[str, ...] = (
    "architectures",
    "model_type",
    "torch_dtype",
    "dtype",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "tie_word_embeddings",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "attention_bias",
    "attn_output_gate",
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "decoder_sparse_step",
    "mlp_only_layers",
    "full_attention_interval",
    "linear_num_key_heads",
    "linear_num_value_heads",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_conv_kernel_dim",
    "mamba_ssm_dtype",
    "num_nextn_predict_layers",
    "mtp_num_hidden_layers",
)
"""The keys of config.json (top level and `text_config`) that ``ModelFacts.from_config`` reads.

A reporter that must stay small (the downloader's termination message) sends these, the ``quantization_config`` keys of
``QUANTIZATION_KEYS`` and the ``vision_config`` keys of ``VISION_KEYS``, each under config.json's own names.
`layer_types` (a long list) is read too, where `full_attention_interval` is missing.
"""

QUANTIZATION_KEYS: tuple[str, ...] = (
    "quant_method",
    "quant_algo",
    "bits",
    "group_size",
    "weight_block_size",
    "format",
    "load_in_4bit",
)
VISION_KEYS: tuple[str, ...] = (
    "depth",
    "hidden_size",
    "intermediate_size",
    "out_hidden_size",
    "spatial_merge_size",
    "deepstack_visual_indexes",
)


class ConfigError(ValueError):
    """A config.json that lacks, or contradicts, what a decision needs. The message names the key."""


class Quantization(BaseModel):
    """How the linear layers of a checkpoint are stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Word
    """vLLM's name: fp8, awq, gptq, compressed-tensors, modelopt, ..."""
    bits: int = Field(ge=1, le=64)
    """Bits of one weight: 8 or 4."""
    group_size: int | None = Field(default=None, ge=1, le=WIDEST)
    """Weights that share a scale along the input dimension (AWQ, GPTQ); None: one scale a channel or tensor."""
    block: tuple[Width, Width] | None = None
    """Block of (output, input) weights that share a scale (Qwen's FP8: 128 x 128)."""

    @property
    def label(self) -> str:
        """Short name for messages: ``fp8``, ``awq 4-bit``."""
        return self.method if self.method == "fp8" else f"{self.method} {self.bits}-bit"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read config.json's ``quantization_config``."""
        method = (_text(config, "quant_method") or ("modelopt" if "quant_algo" in config else "unknown")).lower()
        block, group = _list(config, "weight_block_size"), config.get("group_size")
        if block and len(block) != 2:
            raise ConfigError(f"config.json: weight_block_size has {len(block)} numbers, not 2")
        return cls(
            method=method,
            bits=_bits(config, method),
            group_size=group if group and _int(config, "group_size", least=-1) > 0 else None,
            block=(block[0], block[1]) if block else None,
        )


class VisionTower(BaseModel):
    """Vision encoder of a VL checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: Layers
    hidden_size: Width
    intermediate_size: Width
    out_hidden_size: Width
    spatial_merge_size: Width = 2
    deepstack_levels: Layers = 0
    """Layers whose output is merged into the language model through a merger of their own."""


class LinearAttention(BaseModel):
    """Gated delta net layers (Qwen3-Next, Qwen3.5 and later): a fixed state a sequence instead of a KV cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_key_heads: Width
    num_value_heads: Width
    key_head_dim: Width
    value_head_dim: Width
    conv_kernel: Width = 4
    state_bytes: int = Field(default=2, ge=1, le=8)
    """Bytes of one number of the recurrent state: 4 where the config asks for float32 (`mamba_ssm_dtype`)."""


class ModelFacts(BaseModel):
    """What decides lengths, parallelism and memory of a checkpoint. Sizes are counts unless named otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architectures: tuple[Word, ...] = Field(default=(), max_length=16)
    model_type: Word = ""
    dtype: Word = "bfloat16"
    hidden_size: Width = Field(gt=0)
    intermediate_size: Width = 0
    num_layers: Layers = Field(gt=0)
    num_full_attention_layers: Layers = Field(gt=0)
    """Layers that hold a KV cache; the others are linear attention."""
    num_attention_heads: Width = Field(gt=0)
    num_key_value_heads: Width = Field(gt=0)
    head_dim: Width = Field(gt=0)
    vocab_size: Width = Field(gt=0)
    max_position_embeddings: Width = Field(gt=0)
    tie_word_embeddings: bool = False
    rope_theta: float | None = Field(default=None, gt=0, le=1e15, allow_inf_nan=False)
    rope_parameters: dict[Word, Any] = Field(default_factory=dict, max_length=32)
    """The config's rope_parameters or rope_scaling without null values: what an override must repeat."""
    attention_output_gate: bool = False
    experts: Width = 0
    experts_per_token: Width = 0
    moe_intermediate_size: Width = 0
    shared_expert_intermediate_size: Width = 0
    num_moe_layers: Layers = 0
    linear_attention: LinearAttention | None = None
    mtp_layers: Layers = 0
    """Multi-token-prediction layers the checkpoint carries for speculative decoding."""
    vision: VisionTower | None = None
    text_config_nested: bool = False
    """The language model's numbers stand under `text_config`, and so must an override."""
    quantization: Quantization | None = None
    weights_bytes: int | None = Field(default=None, gt=0, le=2**53)
    """Bytes of the weight files on disk, when known."""

    @property
    def is_moe(self) -> bool:
        """True for mixture-of-experts checkpoints."""
        return self.experts > 0

    @property
    def is_hybrid_attention(self) -> bool:
        """True where some layers are linear attention."""
        return self.num_full_attention_layers < self.num_layers

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights_bytes: int | None = None) -> Self:
        """Read a Hugging Face config.json, or the part of it that ``FACT_KEYS`` names.

        ``weights_bytes``: total bytes of the weight files, when known.

        Raises ``ConfigError`` naming the key that is missing or wrong.
        """
        try:
            return cls._read(config, weights_bytes)
        except ConfigError:
            raise
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"config.json is not that of a Qwen3 model: {where}: {first['msg']}") from error
        # Anybody may have written it: whatever a value of a wrong type leads to is a fault of the file.
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            raise ConfigError(f"config.json is not that of a Qwen3 model: {str(error)[:200]}") from error

    @classmethod
    def _read(cls, config: Mapping[str, Any], weights_bytes: int | None) -> Self:
        nested = config.get("text_config")
        if nested is None and isinstance(config.get("thinker_config"), Mapping):  # Omni: vLLM serves the thinker
            config = {**config, **config["thinker_config"]}
            nested = config.get("text_config")
        text: Mapping[str, Any] = nested if isinstance(nested, Mapping) else config
        layers = _required_int(text, "num_hidden_layers", most=MOST_LAYERS)
        hidden = _required_int(text, "hidden_size")
        heads = _required_int(text, "num_attention_heads")
        experts = _int(text, "num_experts")
        rope = _rope(text)
        theta = text.get("rope_theta", rope.get("rope_theta"))
        quantization = _mapping(config, "quantization_config") or _mapping(text, "quantization_config")
        vision = config.get("vision_config")
        return cls(
            architectures=tuple(_list(config, "architectures")),
            model_type=_text(config, "model_type"),
            dtype=_text(text, "dtype") or _text(text, "torch_dtype") or _text(config, "torch_dtype") or "bfloat16",
            hidden_size=hidden,
            intermediate_size=_int(text, "intermediate_size"),
            num_layers=layers,
            num_full_attention_layers=_full_attention_layers(text, layers),
            num_attention_heads=heads,
            num_key_value_heads=_int(text, "num_key_value_heads") or heads,
            head_dim=_int(text, "head_dim") or hidden // heads,
            vocab_size=_required_int(text, "vocab_size"),
            max_position_embeddings=_required_int(text, "max_position_embeddings"),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
            rope_theta=float(theta) if theta is not None else None,
            rope_parameters=rope,
            attention_output_gate=bool(text.get("attn_output_gate", _is_gated_delta(config))),
            experts=experts,
            experts_per_token=_int(text, "num_experts_per_tok"),
            moe_intermediate_size=_int(text, "moe_intermediate_size"),
            shared_expert_intermediate_size=_int(text, "shared_expert_intermediate_size"),
            num_moe_layers=_moe_layers(text, layers) if experts else 0,
            linear_attention=_linear_attention(text, default_state=_default_state_dtype(config)),
            mtp_layers=_int(text, "mtp_num_hidden_layers") or _int(text, "num_nextn_predict_layers"),
            vision=_vision(vision) if isinstance(vision, Mapping) else None,
            text_config_nested=text is not config or _is_multimodal(config),
            quantization=Quantization.from_config(quantization) if quantization else None,
            weights_bytes=weights_bytes or None,
        )


def _int(config: Mapping[str, Any], key: str, *, least: int = 0, most: int = WIDEST) -> int:
    value = config.get(key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"config.json: {key} is {_shown(value)}, not a whole number")
    if not least <= value <= most:
        words = f"more than {most:,}" if value > most else "less than nothing"
        raise ConfigError(f"config.json is not that of a Qwen3 model: {key} is {words}")
    return value


def _required_int(config: Mapping[str, Any], key: str, *, most: int = WIDEST) -> int:
    value = _int(config, key, most=most)
    if value <= 0:
        raise ConfigError(f"config.json has no {key}: is this a Qwen3 language model?")
    return value


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"config.json: {key} is {_shown(value)}, not a word")
    return value or ""


def _list(config: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = config.get(key)
    if value is not None and not isinstance(value, list | tuple):
        raise ConfigError(f"config.json: {key} is {_shown(value)}, not a list")
    if len(value or ()) > MOST_LAYERS:
        raise ConfigError(f"config.json: {key} has more than {MOST_LAYERS:,} items")
    return value or ()


def _mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    if value and not isinstance(value, Mapping):
        raise ConfigError(f"config.json: {key} is {_shown(value)}, not a map")
    return value or {}


def _shown(value: Any) -> str:
    return (
        repr(value)
        if isinstance(value, bool | float) or (isinstance(value, str) and len(value) < 64)
        else "something else"
    )


def _rope(text: Mapping[str, Any]) -> dict[str, Any]:
    """rope_parameters or rope_scaling without null values. They become part of a command line, so they are short."""
    found = _mapping(text, "rope_parameters") or _mapping(text, "rope_scaling")
    rope = {key: value for key, value in found.items() if value is not None}
    if depth(rope, _DEEPEST_ROPE) > _DEEPEST_ROPE or len(json.dumps(rope, allow_nan=False)) > _LONGEST_ROPE:
        raise ConfigError("config.json is not that of a Qwen3 model: its rope parameters are too many")
    return rope


def _bits(config: Mapping[str, Any], method: str) -> int:
    if bits := _int(config, "bits"):
        return bits
    if config.get("load_in_4bit"):  # bitsandbytes
        return 4
    for group in list(_mapping(config, "config_groups").values())[:16]:
        weights = _mapping(group, "weights") if isinstance(group, Mapping) else {}
        if bits := _int(weights, "num_bits"):
            return bits
    text = f"{method} {_text(config, 'quant_algo')} {_text(config, 'format')}".lower()
    return 4 if any(mark in text for mark in ("awq", "gptq", "int4", "nvfp4", "mxfp4", "w4a16")) else 8


def _full_attention_layers(text: Mapping[str, Any], layers: int) -> int:
    kinds = _list(text, "layer_types")
    if kinds:
        full = sum(1 for kind in kinds if kind != "linear_attention")
        return min(full, layers) or layers
    interval = _int(text, "full_attention_interval")
    return max(layers // interval, 1) if interval > 1 else layers


def _moe_layers(text: Mapping[str, Any], layers: int) -> int:
    step = _int(text, "decoder_sparse_step") or 1
    dense = {layer for layer in _list(text, "mlp_only_layers") if isinstance(layer, int) and 0 <= layer < layers}
    return layers // step - sum(1 for layer in dense if (layer + 1) % step == 0)


def _is_multimodal(config: Mapping[str, Any]) -> bool:
    """A reporter may have flattened `text_config`; the architecture still tells where vLLM expects its numbers."""
    return any("ForConditionalGeneration" in str(name) for name in _list(config, "architectures"))


def _is_gated_delta(config: Mapping[str, Any]) -> bool:
    return str(config.get("model_type", "")).startswith(("qwen3_next", "qwen3_5"))


def _default_state_dtype(config: Mapping[str, Any]) -> str:
    """Qwen3.5 and later keep the recurrent state in float32 (vLLM's model_executor/models/config.py)."""
    return "float32" if str(config.get("model_type", "")).startswith("qwen3_5") else "bfloat16"


def _linear_attention(text: Mapping[str, Any], default_state: str) -> LinearAttention | None:
    heads = _int(text, "linear_num_value_heads")
    if not heads:
        return None
    return LinearAttention(
        num_key_heads=_required_int(text, "linear_num_key_heads"),
        num_value_heads=heads,
        key_head_dim=_required_int(text, "linear_key_head_dim"),
        value_head_dim=_required_int(text, "linear_value_head_dim"),
        conv_kernel=_int(text, "linear_conv_kernel_dim") or 4,
        state_bytes=4 if (_text(text, "mamba_ssm_dtype") or default_state) == "float32" else 2,
    )


def _vision(config: Mapping[str, Any]) -> VisionTower | None:
    if not config.get("depth"):
        return None
    return VisionTower(
        depth=_required_int(config, "depth"),
        hidden_size=_required_int(config, "hidden_size"),
        intermediate_size=_int(config, "intermediate_size"),
        out_hidden_size=_int(config, "out_hidden_size"),
        spatial_merge_size=_int(config, "spatial_merge_size") or 2,
        deepstack_levels=len(_list(config, "deepstack_visual_indexes")),
    )
