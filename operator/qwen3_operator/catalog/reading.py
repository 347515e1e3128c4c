"""Values of a JSON file that anybody may have written: each of its type, within bounds, or refused with its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST_LAYERS = 4096
WIDEST = 2**24
"""No number of a config.json that decides anything is larger: not a width, not a vocabulary, not a length. Numbers and
lists come from whoever owns the repository, so nothing may take longer, or more memory, the larger they are."""


class ConfigError(ValueError):
    """A config.json that lacks, or contradicts, what a decision needs. The message names the key."""


def whole(config: Mapping[str, Any], key: str, *, least: int = 0, most: int = WIDEST) -> int:
    """A whole number, 0 where there is none; 131072.0 is one, as it is to vLLM. Raises ConfigError."""
    value = config.get(key)
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"config.json: {key} is {_shown(value)}, not a whole number")
    if not least <= value <= most:
        words = f"more than {most:,}" if value > most else "less than nothing"
        raise ConfigError(f"config.json is not that of a Qwen3 model: {key} is {words}")
    return value


def required(config: Mapping[str, Any], key: str, *, most: int = WIDEST) -> int:
    """A whole number from 1. Raises ConfigError."""
    value = whole(config, key, most=most)
    if value <= 0:
        raise ConfigError(f"config.json has no {key}: is this a Qwen3 language model?")
    return value


def text(config: Mapping[str, Any], key: str) -> str:
    """A word, empty where there is none. Raises ConfigError."""
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"config.json: {key} is {_shown(value)}, not a word")
    return value or ""


def items(config: Mapping[str, Any], key: str) -> Sequence[Any]:
    """A list, empty where there is none. Raises ConfigError."""
    value = config.get(key)
    if value is not None and not isinstance(value, list | tuple):
        raise ConfigError(f"config.json: {key} is {_shown(value)}, not a list")
    if len(value or ()) > MOST_LAYERS:
        raise ConfigError(f"config.json: {key} has more than {MOST_LAYERS:,} items")
    return value or ()


def mapping(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A map, empty where there is none. Raises ConfigError."""
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
