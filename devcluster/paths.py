"""Where the development cluster keeps things outside the checkout."""

from __future__ import annotations

import os
from pathlib import Path


class DevclusterError(Exception):
    """Something a person can mend; the message says what."""


def cache_dir() -> Path:
    """What is costly to make and can be made anew: binaries, the Go toolchain. QWEN3_CACHE_DIR overrides it."""
    override = os.environ.get("QWEN3_CACHE_DIR")
    return Path(override) if override else _xdg("XDG_CACHE_HOME", ".cache")


def state_dir() -> Path:
    """What running clusters write: one folder a cluster. QWEN3_STATE_DIR overrides it."""
    override = os.environ.get("QWEN3_STATE_DIR")
    return Path(override) if override else _xdg("XDG_STATE_HOME", ".local/state") / "devcluster"


def _xdg(variable: str, default: str) -> Path:
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / default) / "qwen3-operator"
