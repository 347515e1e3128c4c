"""Names and labels that the commands search by: those of `naming`, without importing the pydantic models behind it.

Those take a second to import, which is most of what a command takes. A test holds both equal.
"""

from __future__ import annotations

from qwen3_operator.api import API_VERSION, GROUP
from qwen3_operator.controller.kinds import Kind

QWEN3_DEPLOYMENTS = Kind(API_VERSION, "Qwen3Deployment", "qwen3deployments")
QWEN3_MODELS = Kind(API_VERSION, "Qwen3Model", "qwen3models")
QWEN3_BATCHES = Kind(API_VERSION, "Qwen3Batch", "qwen3batches")
KINDS = (QWEN3_DEPLOYMENTS, QWEN3_MODELS, QWEN3_BATCHES)
SHORT_NAMES = {"q3d": QWEN3_DEPLOYMENTS, "q3m": QWEN3_MODELS, "q3b": QWEN3_BATCHES}

DEPLOYMENT_LABEL = f"{GROUP}/deployment"
MODEL_LABEL = f"{GROUP}/model"
BATCH_LABEL = f"{GROUP}/batch"
LABELS = {QWEN3_DEPLOYMENTS: DEPLOYMENT_LABEL, QWEN3_MODELS: MODEL_LABEL, QWEN3_BATCHES: BATCH_LABEL}
"""Label of the pods of an object of that kind."""
SELECTOR = "app.kubernetes.io/managed-by=qwen3-operator"
CONTAINER = "vllm"
"""Container of servers and shards."""
PORT = 8000
"""Of servers."""
NOT_SEEN = "NotYetSeen"
"""In the place of a reason, of what the operator has said nothing about yet."""


def kind_named(word: str) -> Kind | None:
    """The kind by any of its names, as kubectl takes them."""
    low = word.lower()
    if low in SHORT_NAMES:
        return SHORT_NAMES[low]
    return next((kind for kind in KINDS if low in (kind.kind.lower(), kind.plural, f"{kind.plural}.{GROUP}")), None)
