"""Which Kubernetes the tests run on: the newest, unless `make test-cluster KUBERNETES=1.31` asks for an older one."""

from __future__ import annotations

import os

import pytest


def newest_only(why: str) -> pytest.MarkDecorator:
    """Of a test that the newest API server alone can pass."""
    return pytest.mark.skipif(bool(os.environ.get("QWEN3_KUBERNETES")), reason=f"an older Kubernetes: {why}")
