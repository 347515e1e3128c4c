"""What is known of the Qwen3 family: architecture numbers, how each checkpoint is served, sizes."""

from qwen3_operator.catalog.adapter import AdapterFacts, names_model, other_shape
from qwen3_operator.catalog.entry import (
    CatalogEntry,
    Sampling,
    known_ids,
    lookup,
    not_served_reason,
    suggest,
)
from qwen3_operator.catalog.facts import ModelFacts
from qwen3_operator.catalog.files import Template
from qwen3_operator.catalog.quantization import MLX, Quantization
from qwen3_operator.catalog.reading import ConfigError
from qwen3_operator.catalog.recognition import resolve

__all__ = [
    "MLX",
    "AdapterFacts",
    "CatalogEntry",
    "ConfigError",
    "ModelFacts",
    "Quantization",
    "Sampling",
    "Template",
    "known_ids",
    "lookup",
    "names_model",
    "not_served_reason",
    "other_shape",
    "resolve",
    "suggest",
]
