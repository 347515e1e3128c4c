"""Architecture numbers of a checkpoint, read from its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

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

    method: str
    """vLLM's name: fp8, awq, gptq, compressed-tensors, modelopt, ..."""
    bits: int
    """Bits of one weight: 8 or 4."""
    group_size: int | None = None
    """Weights that share a scale along the input dimension (AWQ, GPTQ); None: one scale a channel or tensor."""
    block: tuple[int, int] | None = None
    """Block of (output, input) weights that share a scale (Qwen's FP8: 128 x 128)."""

    @property
    def label(self) -> str:
        """Short name for messages: ``fp8``, ``awq 4-bit``."""
        return self.method if self.method == "fp8" else f"{self.method} {self.bits}-bit"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read config.json's ``quantization_config``."""
        method = str(config.get("quant_method") or ("modelopt" if "quant_algo" in config else "unknown")).lower()
        block = config.get("weight_block_size")
        group = config.get("group_size")
        return cls(
            method=method,
            bits=_bits(config, method),
            group_size=int(group) if group and int(group) > 0 else None,
            block=(int(block[0]), int(block[1])) if block else None,
        )


class VisionTower(BaseModel):
    """Vision encoder of a VL checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int
    hidden_size: int
    intermediate_size: int
    out_hidden_size: int
    spatial_merge_size: int = 2
    deepstack_levels: int = 0
    """Layers whose output is merged into the language model through a merger of their own."""


class LinearAttention(BaseModel):
    """Gated delta net layers (Qwen3-Next, Qwen3.5 and later): a fixed state a sequence instead of a KV cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_key_heads: int
    num_value_heads: int
    key_head_dim: int
    value_head_dim: int
    conv_kernel: int = 4
    state_bytes: int = 2
    """Bytes of one number of the recurrent state: 4 where the config asks for float32 (`mamba_ssm_dtype`)."""


class ModelFacts(BaseModel):
    """What decides lengths, parallelism and memory of a checkpoint. Sizes are counts unless named otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architectures: tuple[str, ...] = ()
    model_type: str = ""
    dtype: str = "bfloat16"
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(default=0, ge=0)
    num_layers: int = Field(gt=0)
    num_full_attention_layers: int = Field(gt=0)
    """Layers that hold a KV cache; the others are linear attention."""
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    vocab_size: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    tie_word_embeddings: bool = False
    rope_theta: float | None = None
    rope_parameters: dict[str, Any] = Field(default_factory=dict)
    """The config's rope_parameters or rope_scaling without null values: what an override must repeat."""
    attention_output_gate: bool = False
    experts: int = 0
    experts_per_token: int = 0
    moe_intermediate_size: int = 0
    shared_expert_intermediate_size: int = 0
    num_moe_layers: int = 0
    linear_attention: LinearAttention | None = None
    mtp_layers: int = 0
    """Multi-token-prediction layers the checkpoint carries for speculative decoding."""
    vision: VisionTower | None = None
    text_config_nested: bool = False
    """The language model's numbers stand under `text_config`, and so must an override."""
    quantization: Quantization | None = None
    weights_bytes: int | None = Field(default=None, gt=0)
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
        nested = config.get("text_config")
        if nested is None and isinstance(config.get("thinker_config"), Mapping):  # Omni: vLLM serves the thinker
            config = {**config, **config["thinker_config"]}
            nested = config.get("text_config")
        text: Mapping[str, Any] = nested if isinstance(nested, Mapping) else config
        layers = _required_int(text, "num_hidden_layers")
        hidden = _required_int(text, "hidden_size")
        heads = _required_int(text, "num_attention_heads")
        experts = _int(text, "num_experts")
        rope = {
            k: v for k, v in (text.get("rope_parameters") or text.get("rope_scaling") or {}).items() if v is not None
        }
        theta = text.get("rope_theta", rope.get("rope_theta"))
        quantization = config.get("quantization_config") or text.get("quantization_config")
        vision = config.get("vision_config")
        try:
            return cls(
                architectures=tuple(config.get("architectures") or ()),
                model_type=str(config.get("model_type") or ""),
                dtype=str(text.get("dtype") or text.get("torch_dtype") or config.get("torch_dtype") or "bfloat16"),
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
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, ConfigError) else ConfigError(f"config.json: {error}") from error


def _int(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"config.json: {key} is {value!r}, not a whole number")
    return value


def _required_int(config: Mapping[str, Any], key: str) -> int:
    value = _int(config, key)
    if value <= 0:
        raise ConfigError(f"config.json has no {key}: is this a Qwen3 language model?")
    return value


def _bits(config: Mapping[str, Any], method: str) -> int:
    if config.get("bits"):
        return int(config["bits"])
    if config.get("load_in_4bit"):  # bitsandbytes
        return 4
    groups = config.get("config_groups")
    if isinstance(groups, Mapping):
        for group in groups.values():
            bits = (group.get("weights") or {}).get("num_bits") if isinstance(group, Mapping) else None
            if bits:
                return int(bits)
    text = f"{method} {config.get('quant_algo', '')} {config.get('format', '')}".lower()
    return 4 if any(mark in text for mark in ("awq", "gptq", "int4", "nvfp4", "mxfp4", "w4a16")) else 8


def _full_attention_layers(text: Mapping[str, Any], layers: int) -> int:
    kinds = text.get("layer_types")
    if kinds:
        full = sum(1 for kind in kinds if kind != "linear_attention")
        return full or layers
    interval = _int(text, "full_attention_interval")
    return max(layers // interval, 1) if interval > 1 else layers


def _moe_layers(text: Mapping[str, Any], layers: int) -> int:
    step = _int(text, "decoder_sparse_step") or 1
    dense = set(text.get("mlp_only_layers") or ())
    return sum(1 for layer in range(layers) if layer not in dense and (layer + 1) % step == 0)


def _is_multimodal(config: Mapping[str, Any]) -> bool:
    """A reporter may have flattened `text_config`; the architecture still tells where vLLM expects its numbers."""
    return any("ForConditionalGeneration" in str(name) for name in config.get("architectures") or ())


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
        state_bytes=4 if str(text.get("mamba_ssm_dtype") or default_state) == "float32" else 2,
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
        deepstack_levels=len(config.get("deepstack_visual_indexes") or ()),
    )
