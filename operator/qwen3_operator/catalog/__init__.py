"""What is known of the Qwen3 family: architecture numbers, how each checkpoint is served, sizes."""

from qwen3_operator.catalog.entry import (
    CatalogEntry,
    Sampling,
    known_ids,
    lookup,
    not_served_reason,
    resolve,
    suggest,
)
from qwen3_operator.catalog.facts import (
    FACT_KEYS,
    QUANTIZATION_KEYS,
    VISION_KEYS,
    ConfigError,
    ModelFacts,
    Quantization,
)

__all__ = [
    "FACT_KEYS",
    "QUANTIZATION_KEYS",
    "VISION_KEYS",
    "CatalogEntry",
    "ConfigError",
    "ModelFacts",
    "Quantization",
    "Sampling",
    "known_ids",
    "lookup",
    "not_served_reason",
    "resolve",
    "suggest",
]
