"""Every Qwen3Batch that users may copy makes sense."""

from __future__ import annotations

from typing import Any

import pytest
from tests.documents.snippets import manifests

from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.plan import NodeGpus, Weights
from qwen3_operator.plan.batch import as_server, make_batch_plan
from qwen3_operator.settings import Settings

ALL = list(manifests())
BATCHES = [(where, m) for where, m in ALL if m["kind"] == "Qwen3Batch"]
DEPLOYMENTS = {m["metadata"]["name"]: m for _, m in ALL if m["kind"] == "Qwen3Deployment"}


@pytest.mark.parametrize(("where", "manifest"), BATCHES, ids=[f"{w}-{m['metadata']['name']}" for w, m in BATCHES])
def test_it_makes_sense_and_fits_an_h100(where: str, manifest: dict[str, Any]) -> None:
    spec = Qwen3BatchSpec.model_validate(manifest["spec"])
    lent = None
    if spec.deployment_ref:
        lent = Qwen3DeploymentSpec.model_validate(DEPLOYMENTS[spec.deployment_ref.name]["spec"])
    nodes = [NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 8)]
    plan = make_batch_plan("team", "it", spec, as_server(spec, lent), Weights("c", "p"), Settings(), nodes).engine
    assert not plan.problems
    assert plan.fit.status == "True"
