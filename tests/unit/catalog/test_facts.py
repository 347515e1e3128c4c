"""Reading a config.json."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_download.facts import GROUPS, KEYS, PARTS, WHOLE, pick
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import ConfigError, ModelFacts, Quantization
from qwen3_operator.catalog.reading import MOST_LAYERS, WIDEST
from qwen3_operator.engine.weights import parameter_bytes
from qwen3_operator.plan import NodeGpus, Weights, make_plan
from qwen3_operator.settings import Settings

DENSE: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "torch_dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rope_theta": 1000000,
    "rope_scaling": None,
    "tie_word_embeddings": False,
}


def test_dense() -> None:
    facts = ModelFacts.from_config(DENSE, 16_381_470_720)
    assert (facts.num_layers, facts.num_full_attention_layers, facts.head_dim) == (36, 36, 128)
    assert (facts.rope_theta, facts.rope_parameters, facts.is_moe) == (1e6, {}, False)
    assert facts.weights_bytes == 16_381_470_720
    assert not facts.text_config_nested


def test_facts_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ModelFacts.from_config(DENSE).hidden_size = 1  # type: ignore[misc]


def test_experts_and_sparse_layers() -> None:
    moe = {
        **DENSE,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "decoder_sparse_step": 2,
        "mlp_only_layers": [1, 3],
    }
    facts = ModelFacts.from_config(moe)
    assert facts.is_moe
    assert facts.num_moe_layers == 36 // 2 - 2


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param({"full_attention_interval": 4}, id="interval"),
        pytest.param({"layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 9}, id="layer types"),
    ],
)
def test_linear_attention_layers_hold_no_kv_cache(kinds: dict[str, Any]) -> None:
    linear = {
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "mamba_ssm_dtype": "float32",
    }
    facts = ModelFacts.from_config({**DENSE, **linear, **kinds})
    assert facts.num_full_attention_layers == 9
    assert facts.is_hybrid_attention
    assert facts.linear_attention is not None
    assert facts.linear_attention.state_bytes == 4


def test_vision_language_numbers_are_nested() -> None:
    rope = {"rope_type": "default", "rope_theta": 10000000, "mrope_section": [11, 11, 10]}
    text = {key: value for key, value in DENSE.items() if key not in ("architectures", "rope_theta", "rope_scaling")}
    config = {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "tie_word_embeddings": True,
        "text_config": {**text, "rope_parameters": rope},
        "vision_config": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "out_hidden_size": 4096},
    }
    facts = ModelFacts.from_config(config)
    assert facts.text_config_nested
    assert facts.tie_word_embeddings
    assert facts.rope_theta == 1e7
    assert facts.rope_parameters == rope
    assert facts.vision is not None
    assert facts.vision.depth == 27


def test_a_flattened_report_of_a_nested_config_says_the_same() -> None:
    """The downloader's report lifts `text_config` to the top and leaves the vision tower out."""
    text = {
        **{key: DENSE[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")},
        "vocab_size": 248320,
        "max_position_embeddings": 262144,
        "full_attention_interval": 4,
        "num_experts": 0,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
    }
    top = {"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5"}
    gate = {"attn_output_gate": True, "mamba_ssm_dtype": "float32"}
    nested = ModelFacts.from_config({**top, "text_config": {**text, **gate}})
    assert ModelFacts.from_config({**top, **text}) == nested
    assert nested.text_config_nested
    assert nested.attention_output_gate


def test_omni_serves_its_thinker() -> None:
    config = {"architectures": ["Qwen3OmniMoeForConditionalGeneration"], "thinker_config": {"text_config": DENSE}}
    assert ModelFacts.from_config(config).num_layers == 36


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
            Quantization(method="fp8", bits=8, block=(128, 128)),
        ),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, Quantization(method="awq", bits=4, group_size=128)),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, Quantization(method="gptq", bits=8, group_size=128)),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, Quantization(method="gptq", bits=4)),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, Quantization(method="bitsandbytes", bits=4)),
        ({"quant_algo": "FP8", "ignore": ["lm_head"]}, Quantization(method="modelopt", bits=8)),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}},
            Quantization(method="compressed-tensors", bits=4),
        ),
    ],
)
def test_quantization(config: dict[str, Any], expected: Quantization) -> None:
    facts = ModelFacts.from_config({**DENSE, "quantization_config": config})
    assert facts.quantization == expected


@pytest.mark.parametrize(
    ("config", "label"),
    [
        ({"_load_in_4bit": True, "quant_method": "bitsandbytes"}, "bitsandbytes 4-bit"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes 4-bit"),
        ({"load_in_8bit": True}, "bitsandbytes 8-bit"),
        ({"quant_method": "compressed_tensors", "format": "pack-quantized", "bits": 4}, "compressed-tensors 4-bit"),
        ({"group_size": 64, "bits": 4}, "mlx 4-bit"),
    ],
)
def test_spellings_without_the_common_key(config: dict[str, Any], label: str) -> None:
    quantization = ModelFacts.from_config({**DENSE, "quantization_config": pick(config)}).quantization
    assert quantization is not None and quantization.label == label


def test_an_audio_tower_is_counted() -> None:
    audio = {"encoder_layers": 32, "d_model": 1280, "encoder_ffn_dim": 5120}
    deaf, facts = (
        ModelFacts.from_config(pick({"thinker_config": {"text_config": DENSE, **more}}))
        for more in ({}, {"audio_config": audio})
    )
    assert deaf.audio is None and parameter_bytes(facts) - parameter_bytes(deaf) == 2 * 32 * 12 * 1280**2


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match=f"config.json has no {key}"):
        ModelFacts.from_config({name: value for name, value in DENSE.items() if name != key})


@pytest.mark.parametrize("value", ["4096", 40.5, True, [4096]])
def test_a_wrong_type_is_named(value: object) -> None:
    with pytest.raises(ConfigError, match="hidden_size is"):
        ModelFacts.from_config({**DENSE, "hidden_size": value})


MOE = {**DENSE, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
VISION = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "out_hidden_size": 4096}
NOT_OF_A_QWEN3: dict[str, tuple[dict[str, Any], str]] = {
    # Attack 04: a loop over layers, at every start of the operator.
    "layers": ({"num_hidden_layers": 10**15}, "num_hidden_layers is more than 4,096"),
    "a step": ({"decoder_sparse_step": -1}, "decoder_sparse_step is less than nothing"),
    "widths": ({"hidden_size": WIDEST + 1}, "hidden_size is more than 16,777,216"),
    "heads": ({"num_attention_heads": 10**18}, "num_attention_heads is more than"),
    "a length": ({"max_position_embeddings": 10**18}, "max_position_embeddings is more than"),
    "experts": ({"num_experts": 10**18}, "num_experts is more than"),
    "dense layers": ({"mlp_only_layers": [1] * 5000}, "mlp_only_layers has more than 4,096 items"),
    "kinds of layers": ({"layer_types": ["full_attention"] * 5000}, "layer_types has more than 4,096 items"),
    "no list": ({"layer_types": "full_attention"}, "layer_types is 'full_attention', not a list"),
    "no architectures": ({"architectures": 5}, "architectures is something else, not a list"),
    "many architectures": ({"architectures": ["a"] * 17}, "architectures: Tuple should have at most 16 items"),
    "a long word": ({"model_type": "q" * 129}, "model_type: String should have at most 128 characters"),
    "no word": ({"torch_dtype": {"a": 1}}, "torch_dtype is something else, not a word"),
    "rope": ({"rope_scaling": [1]}, "rope_scaling is something else, not a map"),
    "long rope": ({"rope_scaling": {"short_factor": [1.0] * 2000}}, "its rope parameters are too many"),
    "deep rope": ({"rope_scaling": {"a": {"b": {"c": {"d": {}}}}}}, "its rope parameters are too many"),
    "no theta": ({"rope_theta": [1]}, "is not that of a Qwen3 model"),
    "infinite theta": ({"rope_theta": float("inf")}, "rope_theta: "),
    "bits": ({"quantization_config": {"quant_method": "awq", "bits": 10**9}}, "bits is more than"),
    "some bits": ({"quantization_config": {"quant_method": "awq", "bits": 65}}, "bits: Input should be less than"),
    "a block": ({"quantization_config": {"weight_block_size": [1, 2, 3]}}, "weight_block_size has 3 numbers, not 2"),
    "a wide block": ({"quantization_config": {"weight_block_size": [1, 10**18]}}, "block.1: Input should be less than"),
    "no quantization": ({"quantization_config": "fp8"}, "quantization_config is 'fp8', not a map"),
    "a tower": ({"vision_config": VISION | {"depth": 10**15}}, "depth is more than|depth: Input should be less than"),
    "a state": ({"linear_num_value_heads": 10**15}, "linear_num_value_heads is more than"),
}


@pytest.mark.parametrize("name", NOT_OF_A_QWEN3)
def test_what_is_no_qwen3s_is_refused_by_its_key(name: str) -> None:
    change, words = NOT_OF_A_QWEN3[name]
    with pytest.raises(ConfigError, match=f"config.json.*(?:{words})"):
        ModelFacts.from_config(MOE | change)


@given(st.integers(1, 200), st.integers(0, 12), st.lists(st.integers(-2, 220), max_size=20))
def test_sparse_layers_are_counted_as_transformers_builds_them(layers: int, step: int, dense: list[int]) -> None:
    config = MOE | {"num_hidden_layers": layers, "decoder_sparse_step": step, "mlp_only_layers": dense}
    built = [layer for layer in range(layers) if layer not in dense and (layer + 1) % (step or 1) == 0]
    assert ModelFacts.from_config(config).num_moe_layers == len(built)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 64, MOST_LAYERS, WIDEST, 2**53, 2**63 - 1])
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["qwen3_moe", "Qwen3MoeForCausalLM", "linear_attention", "fp8"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*sorted(KEYS), "rope_type", GROUPS]), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = sorted({*KEYS, *PARTS, *WHOLE, "layer_types", "quant_algo"})


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4), st.booleans())
def test_any_config_gives_facts_or_is_refused(change: dict[str, Any], nested: bool) -> None:
    config = {**MOE, "text_config": MOE | change} if nested else MOE | change
    try:
        facts = ModelFacts.from_config(config)
    except ConfigError as error:
        assert len(str(error)) < 1000
    else:
        assert 0 <= facts.num_moe_layers <= facts.num_layers <= MOST_LAYERS
        assert facts.num_full_attention_layers <= facts.num_layers


def test_the_largest_facts_are_planned_at_once() -> None:
    """What the operator does with them at every reconcile, whatever they say."""
    numbers = {key: WIDEST for key, value in MOE.items() if isinstance(value, int) and value is not False}
    config = MOE | numbers | {"num_hidden_layers": MOST_LAYERS, "rope_theta": 1e15}
    facts = ModelFacts.from_config(config, 2**53)
    spec = Qwen3DeploymentSpec.model_validate({"model": {"id": "evil/Qwen3-MoE"}})
    started = time.process_time()
    make_plan(Weights("m", "p", facts), spec, Settings(), (NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8),))
    assert time.process_time() - started < 1, "a millisecond or two on a quiet machine"


def test_heads_and_head_dim_have_defaults() -> None:
    config = {name: value for name, value in DENSE.items() if name not in ("head_dim", "num_key_value_heads")}
    facts = ModelFacts.from_config(config)
    assert (facts.head_dim, facts.num_key_value_heads) == (128, 32)
