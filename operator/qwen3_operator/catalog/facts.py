"""Architecture numbers of a checkpoint, read from its config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from qwen3_operator.catalog.files import LARGEST, Template, Tensors, is_pooling, part
from qwen3_operator.catalog.quantization import Quantization, Width, Word, read_quantization
from qwen3_operator.catalog.reading import MOST_LAYERS, ConfigError, items, mapping, required, text, whole
from qwen3_operator.controller.decode import depth

Layers = Annotated[int, Field(ge=0, le=MOST_LAYERS)]
_DEEPEST_ROPE, _LONGEST_ROPE = 4, 4096


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


class AudioTower(BaseModel):
    """Audio encoder of an Omni or ASR checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: Layers
    hidden_size: Width
    intermediate_size: Width


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
    audio: AudioTower | None = None
    text_config_nested: bool = False
    """The language model's numbers stand under `text_config`, and so must an override."""
    quantization: Quantization | None = None
    weights_bytes: int | None = Field(default=None, gt=0, le=LARGEST)
    """Bytes of the weight files on disk, when known."""
    loaded_bytes: int | None = Field(default=None, gt=0, le=LARGEST)
    """Bytes of the tensors that vLLM loads, as the safetensors headers of the files say; None before the download."""
    template: Template | None = None
    """What the chat template does; None where nobody has read it."""
    pooling: bool = False
    """The repository says that it makes a vector of a text (sentence-transformers' modules.json)."""

    @property
    def is_moe(self) -> bool:
        """True for mixture-of-experts checkpoints."""
        return self.experts > 0

    @property
    def is_hybrid_attention(self) -> bool:
        """True where some layers are linear attention."""
        return self.num_full_attention_layers < self.num_layers

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], weights_bytes: int | None = None, files: Mapping[str, Any] | None = None
    ) -> Self:
        """Read a config.json, whole or as the downloader recorded it: the one reader of both.

        ``weights_bytes``: total bytes of the weight files, when known. ``files``: what is recorded of the files beside
        it (catalog/files.py).

        Raises ``ConfigError`` naming the key that is missing or wrong.
        """
        try:
            return cls._read(config, weights_bytes, files or {})
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
    def _read(cls, config: Mapping[str, Any], weights_bytes: int | None, files: Mapping[str, Any]) -> Self:
        body = config
        if "text_config" not in config and isinstance(config.get("thinker_config"), Mapping):
            body = config["thinker_config"]  # Omni and ASR: vLLM serves the thinker
        nested = body.get("text_config")
        language: Mapping[str, Any] = nested if isinstance(nested, Mapping) else body
        parts = (config, body, language)
        layers = required(language, "num_hidden_layers", most=MOST_LAYERS)
        hidden = required(language, "hidden_size")
        heads = required(language, "num_attention_heads")
        experts = whole(language, "num_experts")
        rope = _rope(language)
        theta = language.get("rope_theta", rope.get("rope_theta"))
        dtypes = [text(p, key) for p in reversed(parts) for key in ("dtype", "torch_dtype")]
        tied = [p["tie_word_embeddings"] for p in parts if p.get("tie_word_embeddings") is not None]
        tensors = Tensors.from_record(part(files, "tensors"))
        vision, audio = body.get("vision_config"), body.get("audio_config")
        return cls(
            architectures=tuple(items(config, "architectures")),
            model_type=text(config, "model_type"),
            dtype=next(filter(None, dtypes), "bfloat16"),
            hidden_size=hidden,
            intermediate_size=whole(language, "intermediate_size"),
            num_layers=layers,
            num_full_attention_layers=_full_attention_layers(language, layers),
            num_attention_heads=heads,
            num_key_value_heads=whole(language, "num_key_value_heads") or heads,
            head_dim=whole(language, "head_dim") or hidden // heads,
            vocab_size=required(language, "vocab_size"),
            max_position_embeddings=required(language, "max_position_embeddings"),
            tie_word_embeddings=bool(tied[0]) if tied else False,
            rope_theta=float(theta) if theta is not None else None,
            rope_parameters=rope,
            attention_output_gate=bool(language.get("attn_output_gate", _is_gated_delta(config))),
            experts=experts,
            experts_per_token=whole(language, "num_experts_per_tok"),
            moe_intermediate_size=whole(language, "moe_intermediate_size"),
            shared_expert_intermediate_size=whole(language, "shared_expert_intermediate_size"),
            num_moe_layers=_moe_layers(language, layers) if experts else 0,
            linear_attention=_linear_attention(language, default_state=_default_state_dtype(config)),
            mtp_layers=whole(language, "mtp_num_hidden_layers") or whole(language, "num_nextn_predict_layers"),
            vision=_vision(vision) if isinstance(vision, Mapping) else None,
            audio=_audio(audio) if isinstance(audio, Mapping) else None,
            text_config_nested=language is not config or _is_multimodal(config),
            quantization=read_quantization(*parts, part(files, "quantization")),
            weights_bytes=weights_bytes or None,
            loaded_bytes=_loaded(tensors, tied=bool(tied[0]) if tied else False),
            template=Template.from_record(part(files, "template")),
            pooling=is_pooling(files),
        )


def _loaded(tensors: Tensors | None, *, tied: bool) -> int | None:
    if tensors is None:
        return None
    return tensors.loaded - (tensors.lm_head if tied else 0) or None


def _rope(language: Mapping[str, Any]) -> dict[str, Any]:
    """rope_parameters or rope_scaling without null values. They become part of a command line, so they are short."""
    found = mapping(language, "rope_parameters") or mapping(language, "rope_scaling")
    rope = {key: value for key, value in found.items() if value is not None}
    if depth(rope, _DEEPEST_ROPE) > _DEEPEST_ROPE or len(json.dumps(rope, allow_nan=False)) > _LONGEST_ROPE:
        raise ConfigError("config.json is not that of a Qwen3 model: its rope parameters are too many")
    return rope


def _full_attention_layers(language: Mapping[str, Any], layers: int) -> int:
    if full := _count_of_full(language):
        return min(full, layers)
    interval = whole(language, "full_attention_interval")
    return max(layers // interval, 1) if interval > 1 else layers


def _count_of_full(language: Mapping[str, Any]) -> int:
    """Layers that are not linear attention; 0 where the config does not list them. The downloader counts the list."""
    counted = language.get("layer_types")
    if isinstance(counted, Mapping):
        return sum(whole(counted, str(kind), most=MOST_LAYERS) for kind in counted if kind != "linear_attention")
    return sum(1 for kind in items(language, "layer_types") if kind != "linear_attention")


def _moe_layers(language: Mapping[str, Any], layers: int) -> int:
    step = whole(language, "decoder_sparse_step") or 1
    dense = {layer for layer in items(language, "mlp_only_layers") if isinstance(layer, int) and 0 <= layer < layers}
    return layers // step - sum(1 for layer in dense if (layer + 1) % step == 0)


def _is_multimodal(config: Mapping[str, Any]) -> bool:
    """A reporter may have flattened `text_config`; the architecture still shows where vLLM expects its numbers."""
    return any("ForConditionalGeneration" in str(name) for name in items(config, "architectures"))


def _is_gated_delta(config: Mapping[str, Any]) -> bool:
    return str(config.get("model_type", "")).startswith(("qwen3_next", "qwen3_5"))


def _default_state_dtype(config: Mapping[str, Any]) -> str:
    """Qwen3.5 and later keep the recurrent state in float32 (vLLM's model_executor/models/config.py)."""
    return "float32" if str(config.get("model_type", "")).startswith("qwen3_5") else "bfloat16"


def _linear_attention(language: Mapping[str, Any], default_state: str) -> LinearAttention | None:
    heads = whole(language, "linear_num_value_heads")
    if not heads:
        return None
    return LinearAttention(
        num_key_heads=required(language, "linear_num_key_heads"),
        num_value_heads=heads,
        key_head_dim=required(language, "linear_key_head_dim"),
        value_head_dim=required(language, "linear_value_head_dim"),
        conv_kernel=whole(language, "linear_conv_kernel_dim") or 4,
        state_bytes=4 if (text(language, "mamba_ssm_dtype") or default_state) == "float32" else 2,
    )


def _vision(config: Mapping[str, Any]) -> VisionTower | None:
    if not config.get("depth"):
        return None
    return VisionTower(
        depth=required(config, "depth"),
        hidden_size=required(config, "hidden_size"),
        intermediate_size=whole(config, "intermediate_size"),
        out_hidden_size=whole(config, "out_hidden_size"),
        spatial_merge_size=whole(config, "spatial_merge_size") or 2,
        deepstack_levels=len(items(config, "deepstack_visual_indexes")),
    )


def _audio(config: Mapping[str, Any]) -> AudioTower | None:
    if not config.get("encoder_layers"):
        return None
    hidden = required(config, "d_model")
    return AudioTower(
        layers=required(config, "encoder_layers", most=MOST_LAYERS),
        hidden_size=hidden,
        intermediate_size=whole(config, "encoder_ffn_dim") or 4 * hidden,
    )
