"""A LoRA adapter: what its files say of it, as the downloader recorded it, and whether it was made for a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from qwen3_operator.catalog.entry import catalogue_data, known_ids
from qwen3_operator.catalog.facts import ModelFacts

MOST_RANK = 512
"""The largest that vLLM takes."""
_MOST_MODULES = 64
_WIDEST = 2**24
_SEPARATOR = re.compile(r"[-_.]+")
_FEATURES = {
    "use_dora": "DoRA",
    "lora_bias": "a bias of its own (lora_bias)",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "layer_replication": "layer_replication",
    "alora_invocation_tokens": "activated LoRA",
    "modules_to_save": "whole modules (modules_to_save)",
}
"""Keys of adapter_config.json that vLLM refuses when they say anything (lora/peft_helper.py), in words."""
_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Ways of beginning the training that leave the base model's weights alone."""


@dataclass(frozen=True)
class AdapterFacts:
    """What decides whether an adapter can be served."""

    rank: int
    """The largest of any module; 0: not known."""
    base: str = ""
    """The model that it was trained on, as the training called it: an id or a path."""
    layers: int = 0
    """Layers that its weights speak of; 0: not known."""
    modules: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Inputs and outputs of each kind of module; 0: not known."""
    bytes: int = 0
    """Size of its weights."""
    faults: tuple[str, ...] = ()
    """What vLLM cannot do, in words."""

    @classmethod
    def from_record(
        cls, config: Mapping[str, Any], checkpoint: Mapping[str, Any] | None = None, weights_bytes: int = 0
    ) -> Self:
        """From `status.model` of a Qwen3Model. Anybody may have written the files: what has no sense is not known."""
        shapes = (checkpoint or {}).get("lora")
        shapes = shapes if isinstance(shapes, Mapping) else {}
        ranks = [_whole(config.get("r")), _whole(config.get("rank_pattern")), _whole(shapes.get("rank"))]
        base = config.get("base_model_name_or_path")
        return cls(
            rank=max(ranks),
            base=base if isinstance(base, str) else "",
            layers=_whole(shapes.get("layers")),
            modules=dict(_modules(shapes.get("modules"))),
            bytes=weights_bytes,
            faults=tuple(_faults(config)),
        )


def other_shape(adapter: AdapterFacts, facts: ModelFacts) -> str:
    """Which of its sizes are not those of the model, in words; empty where all agree, as far as they are known."""
    if adapter.layers > facts.num_layers:
        return f"it has layer {adapter.layers - 1}, and the model's last is {facts.num_layers - 1}"
    for module, wanted in _sizes(facts).items():
        has = adapter.modules.get(module, (0, 0))
        if any(size and size != want for size, want in zip(has, wanted, strict=True)):
            return f"its {module} is {has[0]} x {has[1]}, and the model's {wanted[0]} x {wanted[1]}"
    return ""


def names_model(base: str, model_id: str) -> bool | None:
    """Whether `base`, as a training wrote it down, means the model of this id or another quantization of it; None where
    it names nothing that is known: the folder of a machine, a model of the trainer's own."""
    parts = [_words(part) for part in base.replace("\\", "/").split("/") if part]
    ours = _words(model_id.rsplit("/", 1)[-1])
    if ours in parts:
        return True
    return False if ours in _known() and any(part in _known() for part in parts) else None


def _words(name: str) -> tuple[str, ...]:
    """The words of a model's name but for those of its storage. Caches write Qwen3-0___6B, models--Qwen--Qwen3-8B."""
    words = _SEPARATOR.split(name.rpartition("--")[2].lower().replace("___", "."))
    while len(words) > 1 and any(re.fullmatch(p, words[-1]) for p in catalogue_data()["words_of_copies"]):
        words.pop()
    return tuple(words)


@cache
def _known() -> frozenset[tuple[str, ...]]:
    return frozenset(_words(model_id.rsplit("/", 1)[-1]) for model_id in known_ids())


def _sizes(facts: ModelFacts) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the modules that every Qwen3 has under the same names."""
    hidden, head = facts.hidden_size, facts.head_dim
    query, key_value = facts.num_attention_heads * head, facts.num_key_value_heads * head
    sizes = {
        "q_proj": (hidden, query * (2 if facts.attention_output_gate else 1)),
        "k_proj": (hidden, key_value),
        "v_proj": (hidden, key_value),
        "o_proj": (query, hidden),
    }
    width, prefix = (facts.moe_intermediate_size, "experts.") if facts.is_moe else (facts.intermediate_size, "")
    if facts.vision is None and width:
        sizes |= {f"{prefix}gate_proj": (hidden, width), f"{prefix}up_proj": (hidden, width)}
        sizes[f"{prefix}down_proj"] = (width, hidden)
    return sizes


def _faults(config: Mapping[str, Any]) -> Iterator[str]:
    kind = config.get("peft_type", "LORA")
    if str(kind).upper() != "LORA":
        yield f"it is {str(kind)[:64]}, and not LoRA"
    yield from (words for key, words in _FEATURES.items() if config.get(key))
    if config.get("bias") not in (None, "", "none"):
        yield "biases (bias)"
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in _INITS:
        yield f"weights that change the model's own (init_lora_weights {init[:64]})"


def _modules(modules: Any) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, sizes in list(modules.items())[:_MOST_MODULES] if isinstance(modules, Mapping) else ():
        if isinstance(sizes, list) and len(sizes) == 2:
            yield str(name), (_whole(sizes[0]), _whole(sizes[1]))


def _whole(value: Any) -> int:
    return value if type(value) is int and 0 < value <= _WIDEST else 0
