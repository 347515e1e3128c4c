"""Whether a release serves a checkpoint at all."""

from __future__ import annotations

import pytest

from qwen3_operator.catalog import lookup
from qwen3_operator.engine.compatibility import check_version
from qwen3_operator.engine.version import EngineVersion


@pytest.mark.parametrize(
    ("version", "model_id", "reason", "severity"),
    [
        ("0.5.0", "Qwen/Qwen3-8B", "EngineVersionTooOld", "error"),
        ("0.16.0", "Qwen/Qwen3.5-27B", "EngineVersionTooOld", "error"),
        ("0.34.0", "Qwen/Qwen3-8B", "EngineVersionUnknown", "warning"),
        (None, "Qwen/Qwen3-8B", "EngineVersionUnknown", "warning"),
    ],
)
def test_doubtful_versions(version: str | None, model_id: str, reason: str, severity: str) -> None:
    release = EngineVersion.of(version) if version else None
    (problem,) = check_version(release, "vllm/vllm-openai:tag", lookup(model_id))
    assert (problem.reason, problem.severity) == (reason, severity)


@pytest.mark.parametrize(("version", "model_id"), [("0.8.5", "Qwen/Qwen3-8B"), ("0.17.0", "Qwen/Qwen3.5-27B")])
def test_good_versions(version: str, model_id: str) -> None:
    assert check_version(EngineVersion.of(version), "image", lookup(model_id)) == []


def test_an_unknown_model_has_no_floor_of_its_own() -> None:
    assert check_version(EngineVersion.of("0.8.5"), "image", None) == []
