"""The claim of a model: whose it is by its metadata."""

from __future__ import annotations

import pytest

from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.desired.claim import model_claim
from qwen3_operator.naming import MODEL_LABEL


@pytest.mark.parametrize("retention", ["Retain", "Delete"])
def test_argo_cd_does_not_take_it_for_its_own(retention: str) -> None:
    """It can track by a label, and prunes what has it and no owner: the weights, by an Application of that name."""
    meta = model_claim("team", "weights", "uid", Qwen3ModelSpec(id="Qwen/Qwen3-8B"), "18Gi", retention)["metadata"]
    assert "app.kubernetes.io/instance" not in meta["labels"]
    assert meta["labels"][MODEL_LABEL] == "weights"
    assert ("ownerReferences" in meta) == (retention == "Delete")
