"""The Qwen3Model that a Qwen3Deployment or a Qwen3Batch takes its weights from."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.source import DEFAULT_REVISION, ModelSource
from qwen3_operator.catalog import ConfigError, ModelFacts
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import CLAIMS, Kind
from qwen3_operator.controller.ownership import NameTaken
from qwen3_operator.controller.store import UNDECODABLE
from qwen3_operator.desired.model import shared_model
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS, claim_is_others, claim_name, model_name, model_path
from qwen3_operator.plan import Weights
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.holders import (
    add_holders,
    decides,
    holders_of,
    holds,
    is_made_for_users,
    is_of_user,
    reference_to,
    retention,
)
from qwen3_operator.reconcile.key import key_of
from qwen3_operator.reconcile.watched import BY_ID, BY_WANTED, in_namespace
from qwen3_operator.status.model_ready import source_of, verified_copy


async def shared_model_for(context: Context, kind: Kind, user: Object, spec: Qwen3DeploymentSpec) -> Object:
    """The Qwen3Model for `spec`: one that there is, one that somebody made ahead, or made now; held by `user`.

    Raises ApiError where the API server refuses it.
    """
    namespace = user["metadata"]["namespace"]
    name = wanted_name(context, user, spec.source)
    live = context.store.get(QWEN3_MODELS, namespace, name)
    theirs = live if live is not None and not is_made_for_users(live) else None
    if live is None:
        theirs = _made_ahead(context, namespace, spec.source)
    if theirs is not None:
        await hold_claim(context, theirs, kind, user)
        return theirs
    if live is None:
        live = await make_held(context, kind, user, shared_model(namespace, name, spec))
    elif decides(live, user["metadata"]["uid"]) and UNDECODABLE not in live:
        # Users may differ in token, mirror, size and scheduling: the first decides, so two never write in turns.
        live = await context.change(QWEN3_MODELS, live, shared_model(namespace, name, spec))
    if not holds(live, user["metadata"]["uid"]):
        live = await add_holders(context, QWEN3_MODELS, live, _who_wants(context, kind, user, spec.source))
    await hold_claim(context, live, kind, user)
    return live


async def hold_claim(context: Context, model: Object, kind: Kind, user: Object) -> None:
    """Hold the claim of a model under Delete: it stays while the user is there, though the model may be deleted. All
    who hold the model hold it then, in one write."""
    meta = model["metadata"]
    hear_of(context, kind, user, meta["name"])
    if retention(context, model) != "Delete":
        return
    claim = context.store.get(CLAIMS, meta["namespace"], meta["name"])
    if claim is not None and not holds(claim, user["metadata"]["uid"]):
        others = [it for it in holders_of(model) if is_of_user(it) and it["uid"] != user["metadata"]["uid"]]
        with suppress(NameTaken):  # somebody else's: the model says so
            await add_holders(context, CLAIMS, claim, [reference_to(kind, user), *others])


def wanted_name(context: Context, user: Object, source: ModelSource) -> str:
    """Name of the Qwen3Model that is shared by all who name the same checkpoint on the same hub."""
    meta, hub = user["metadata"], hub_of(context, source)
    plain, named = model_name(source), model_name(source, hub)
    live = context.store.get(QWEN3_MODELS, meta["namespace"], plain)
    if live is None:
        return plain if hub == context.settings.hub_endpoint.rstrip("/") else named
    # An earlier release left the hub out of the name: who holds such a model goes on with it, and is warned.
    return plain if hub == _hub_of_model(context, live) or holds(live, meta["uid"]) else named


def other_hub(context: Context, model: Object | None, source: ModelSource) -> Problem | None:
    """A warning where a model's files come from another hub than the one that `source` names."""
    if model is None or source.endpoint is None or _hub_of_model(context, model) == hub_of(context, source):
        return None
    name, theirs = model["metadata"]["name"], _hub_of_model(context, model)
    words = f"the files of Qwen3Model {name} come from {theirs}, as its first user says"
    return Problem(Reason.OTHER_HUB, words, "spec.model.endpoint", severity="warning")


def hub_of(context: Context, source: ModelSource) -> str:
    """Base URL of the hub that a source names, or else the operator's."""
    return (source.endpoint or context.settings.hub_endpoint).rstrip("/")


def weights_of(model: Object | None, name: str, source: ModelSource) -> Weights:
    """Where the verified copy is, or where it will be. `name`: of the model, where it is not there yet.

    Raises ConfigError where the model's files make no sense, or are a LoRA adapter's.
    """
    if base := ((model or {}).get("spec") or {}).get("adapterOf"):
        words = f"Qwen3Model {name} is a LoRA adapter: serve {base['name']}, and the adapter by engine.loraAdapters"
        raise ConfigError(words)
    if copy := verified_copy(model):
        config, files = copy.get("config"), copy.get("checkpoint")
        facts = ModelFacts.from_config(config, copy.get("weightsBytes"), files) if config else None
        others = bool(((model or {}).get("spec") or {}).get("storage", {}).get("existingClaim"))
        return Weights(copy["claim"], copy["path"], facts, others, commit=str(copy.get("commit") or ""))
    theirs = (source_of(model) if model else None) or source
    claim = claim_name(model["metadata"]["name"] if model else name, theirs)
    return Weights(claim, model_path(theirs), claim_is_others=claim_is_others(theirs))


async def make_held(context: Context, kind: Kind, user: Object, wanted: Object) -> Object:
    """Make the model with its first holder, in one write: without any, left by a crash between two, it would stay for
    ever. The holder is then applied by the manager of all holders, which keeps it when the spec is applied again."""
    reference = reference_to(kind, user)
    live = await context.change(QWEN3_MODELS, None, wanted, [reference])
    return await add_holders(context, QWEN3_MODELS, live | {"metadata": _unheld(live)}, [reference])


def _unheld(live: Object) -> Object:
    return {key: value for key, value in live["metadata"].items() if key != "ownerReferences"}


def _who_wants(context: Context, kind: Kind, user: Object, source: ModelSource) -> list[dict[str, Any]]:
    """References to `user`, and to the Qwen3Deployments that have yet to take hold of the same model."""
    namespace = user["metadata"]["namespace"]
    found = [reference_to(kind, user)]
    for other in context.store.find(QWEN3_DEPLOYMENTS, BY_WANTED, in_namespace(namespace, model_name(source))):
        theirs = (other["spec"].get("model") or {}).get("endpoint")
        same_hub = (theirs or context.settings.hub_endpoint).rstrip("/") == hub_of(context, source)
        if same_hub and other["metadata"]["uid"] != user["metadata"]["uid"]:
            found += [] if other["metadata"].get("deletionTimestamp") else [reference_to(QWEN3_DEPLOYMENTS, other)]
    return found


def _hub_of_model(context: Context, model: Object) -> str:
    if UNDECODABLE in model:
        return ""
    return str(model["spec"].get("endpoint") or context.settings.hub_endpoint).rstrip("/")


def _made_ahead(context: Context, namespace: str, source: ModelSource) -> Object | None:
    """A Qwen3Model that a platform team made, and that holds what `source` names: from the same hub."""
    wanted = source.normal()
    storage = wanted.storage.model_dump(by_alias=True, exclude_none=True, exclude={"size", "retention_policy"})
    files = (wanted.download.allow_patterns, wanted.download.ignore_patterns)
    found = context.store.find(QWEN3_MODELS, BY_ID, in_namespace(namespace, source.id))
    for model in sorted(found, key=lambda m: str(m["metadata"]["creationTimestamp"])):
        if (
            is_made_for_users(model)
            or model["spec"].get("adapterOf")
            or _hub_of_model(context, model) != hub_of(context, source)
            or (theirs := source_of(model)) is None
        ):
            continue
        theirs = theirs.normal()
        # The default branch is whatever the platform team has pinned.
        if source.revision not in (theirs.revision, DEFAULT_REVISION):
            continue
        kept = theirs.storage.model_dump(by_alias=True, exclude_none=True)
        has = (theirs.download.allow_patterns, theirs.download.ignore_patterns)
        if storage.items() <= kept.items() and all(not want or want == it for want, it in zip(files, has, strict=True)):
            return model
    return None


async def referred_model(context: Context, kind: Kind, user: Object, name: str) -> Object | None:
    """The Qwen3Model that `spec.modelRef` names; None where it is not there."""
    model = context.store.get(QWEN3_MODELS, user["metadata"]["namespace"], name)
    if model is not None:
        await hold_claim(context, model, kind, user)
    return model


def hear_of(context: Context, kind: Kind, user: Object, name: str) -> None:
    """Have `user` reconciled when this model changes, too: also while it is being reconciled, from a store that is a
    moment old. What it hears of besides stays until `note_models`."""
    context.users.add(key_of(kind, user), name)


def note_models(context: Context, kind: Kind, user: Object, names: set[str]) -> None:
    """Have `user` reconciled when one of just these models changes."""
    context.users.note(key_of(kind, user), names)
