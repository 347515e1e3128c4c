"""The Qwen3Model that a Qwen3Deployment or a Qwen3Batch takes its weights from."""

from __future__ import annotations

from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.source import DEFAULT_REVISION, ModelSource
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import Kind
from qwen3_operator.desired.model import shared_model
from qwen3_operator.naming import MANAGED_BY, MANAGER, QWEN3_MODELS, claim_name, model_name, model_path
from qwen3_operator.plan import Weights
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.key import Key
from qwen3_operator.reconcile.sharing import hold, hold_claim
from qwen3_operator.status.model_ready import verified_copy


async def shared_model_for(context: Context, kind: Kind, user: Object, spec: Qwen3DeploymentSpec) -> Object:
    """The Qwen3Model for `spec`: one that there is, one that somebody made ahead, or made now; held by `user`.

    Raises ApiError where the API server refuses it.
    """
    meta = user["metadata"]
    name, namespace = model_name(spec.model), meta["namespace"]
    key = Key(kind.kind, namespace, meta["name"])
    context.users.note(key, name)
    live = await context.cluster.get(QWEN3_MODELS, namespace, name)
    theirs = live if live is not None and not _is_ours(live) else None
    if live is None:
        theirs = await _made_ahead(context, namespace, spec.model)
        if theirs is not None and context.users.note(key, theirs["metadata"]["name"]):
            theirs = await context.cluster.get(QWEN3_MODELS, namespace, theirs["metadata"]["name"])
    if theirs is not None:
        await hold_claim(context, theirs, kind, meta["name"], meta["uid"])
        return theirs
    return await hold(context, live, shared_model(namespace, spec), kind, meta["name"], meta["uid"])


def weights_of(model: Object | None, source: ModelSource) -> Weights:
    """Where the verified copy is, or where it will be."""
    if copy := verified_copy(model):
        facts = ModelFacts.from_config(copy["config"], copy.get("weightsBytes")) if copy.get("config") else None
        return Weights(copy["claim"], copy["path"], facts)
    name = model["metadata"]["name"] if model else model_name(source)
    theirs = ModelSource.model_validate(model["spec"]) if model else source
    return Weights(claim_name(name, theirs), model_path(theirs))


async def _made_ahead(context: Context, namespace: str, source: ModelSource) -> Object | None:
    """A Qwen3Model that a platform team made, and that holds what `source` names."""
    found = await context.cluster.list(QWEN3_MODELS, namespace, fields=f"spec.id={source.id}")
    wanted = source.storage.model_dump(by_alias=True, exclude_none=True, exclude={"size", "retention_policy"})
    files = source.download.model_dump(
        by_alias=True, exclude_defaults=True, include={"allow_patterns", "ignore_patterns"}
    )
    for model in sorted(found, key=lambda m: str(m["metadata"]["creationTimestamp"])):
        theirs: dict[str, Any] = model["spec"]
        # Who asks for the default branch takes what the platform has pinned.
        if not _is_ours(model) and source.revision in (theirs.get("revision"), DEFAULT_REVISION):
            storage, download = theirs.get("storage") or {}, theirs.get("download") or {}
            if wanted.items() <= storage.items() and files.items() <= download.items():
                return model
    return None


def _is_ours(model: Object) -> bool:
    """Whether the operator made it; others are their maker's to change and to delete."""
    return bool(model["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER)
