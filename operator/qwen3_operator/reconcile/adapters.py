"""The LoRA adapters of a Qwen3Deployment: a Qwen3Model each, on the claim of their base, and what servers have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qwen3_in_engine.server.contract import ADAPTERS_LINE
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.source import ModelSource
from qwen3_operator.catalog import AdapterFacts, ModelFacts
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CONFIG_MAPS
from qwen3_operator.controller.store import UNDECODABLE
from qwen3_operator.desired.adapters import adapters_config_map, adapters_name, list_version, paths_in
from qwen3_operator.desired.made_from import MadeFrom
from qwen3_operator.desired.model import adapter_model, adapter_source
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.engine.lora import Lora, lora_in
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.text import bounded_lines
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS, adapter_model_name
from qwen3_operator.plan.lora import FIELD, Adapter, check_adapters, lora_for
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.reconcile.holders import add_holders, decides, holds, is_made_for_users, reference_to
from qwen3_operator.reconcile.key import key_of
from qwen3_operator.reconcile.models import hear_of, hub_of, make_held
from qwen3_operator.reconcile.pods import is_ready
from qwen3_operator.status.adapters import AdapterView, ServersView
from qwen3_operator.status.model_ready import verified_copy
from qwen3_operator.status.words import json_object

LOG_LINES = 1000
MOST_LOGS = 8
"""Servers whose logs are read in one reconcile. Of more, the first by name that have yet to say it: Ready waits for all
of them, and words that came and went with turns would be a write each time."""


@dataclass(frozen=True)
class Adapters:
    """What was found of the adapters of one spec."""

    views: tuple[AdapterView, ...] = ()
    verified: tuple[Adapter, ...] = ()
    lora: Lora | None = None
    """The room that servers have, or are to have."""
    waits: bool = False
    """Whether the first servers wait: how much room they need is not known before every adapter is there."""
    known: bool = False
    """Whether it is known which they are: not while what they are for is not. What there is of them then stays."""

    def models(self, held: Iterable[Object]) -> set[str]:
        """Names of their Qwen3Models; of all adapters among the `held` ones where it is not known which they are."""
        if self.known:
            return {view.model for view in self.views}
        return {model["metadata"]["name"] for model in held if (model.get("spec") or {}).get("adapterOf")}


async def find_adapters(
    context: Context,
    user: Object,
    spec: Qwen3DeploymentSpec,
    base: Object | None,
    facts: ModelFacts | None,
    made: MadeFrom | None,
) -> tuple[Adapters, list[Problem]]:
    """Have the Qwen3Models of the spec's adapters, and see which are there and can be served. `base`: the model that
    they are for; None where it is not there, or makes no sense. `made`: what the servers that there are were made
    from."""
    wanted = spec.engine.lora_adapters
    before = lora_in(made.plan.command) if made else None
    if not wanted or base is None:
        return Adapters(lora=lora_for(spec.engine, (), before), known=not wanted), []
    if ((base.get("spec") or {}).get("storage") or {}).get("existingClaim"):
        words = f"adapters lie beside their model, and nothing is written to its existingClaim: leave {FIELD} out"
        return Adapters(known=True), [Problem(Reason.ADAPTER_WITHOUT_PLACE, words, FIELD)]
    problems: list[Problem] = []
    models: dict[str, tuple[str, Object | None]] = {}
    for adapter in wanted:
        source = adapter_source(spec, adapter)
        name = _name(context, source, base)
        hear_of(context, QWEN3_DEPLOYMENTS, user, name)
        try:
            models[adapter.name] = name, await _model(context, user, spec, source, name, base)
        except ApiError as error:
            models[adapter.name] = name, None
            problems.append(refused(QWEN3_MODELS, name, error))
    found = {name: _verified(name, model) for name, (_, model) in models.items()}
    verified = tuple(adapter for adapter in found.values() if adapter is not None)
    checked = check_adapters(spec, verified, facts)
    wrong = {name: next((p for p in found if p.severity == "error"), None) for name, found in checked.items()}
    views = tuple(
        AdapterView(it.name, models[it.name][0], models[it.name][1], found[it.name], wrong.get(it.name))
        for it in wanted
    )
    waits = before is None and spec.engine.max_lora_rank is None and len(verified) < len(wanted)
    good = [adapter for adapter in verified if wrong[adapter.name] is None]
    lora = None if waits else lora_for(spec.engine, good, before)
    return Adapters(views, verified, lora, waits and made is None, known=True), problems


async def ensure_list(context: Context, user: Object, adapters: Adapters) -> tuple[dict[str, str], list[Problem]]:
    """Have the list where servers read it, and return it. Nobody watches ConfigMaps: it is read each time.

    Of an adapter whose copy is not there yet, or cannot be served, the one before stays in the list.
    """
    if adapters.lora is None or not adapters.known:
        return {}, []
    meta = user["metadata"]
    namespace, name = meta["namespace"], meta["name"]
    try:
        live = await context.found(CONFIG_MAPS, adapters_config_map(namespace, name, meta["uid"], {}))
        before = paths_in(live)
        paths = {view.name: path for view in adapters.views if (path := view.path or before.get(view.name))}
        await context.change(CONFIG_MAPS, live, adapters_config_map(namespace, name, meta["uid"], paths))
    except ApiError as error:
        return {}, [refused(CONFIG_MAPS, adapters_name(name), error)]
    return paths, []


async def ask_servers(context: Context, user: Object, pods: Sequence[Object], paths: Mapping[str, str]) -> ServersView:
    """Which of the ready servers have every adapter of the list, as they write in their logs, and what vLLM refused.
    Who has said it once is not asked again."""
    version = list_version(paths)
    key = key_of(QWEN3_DEPLOYMENTS, user)
    ready = {pod["metadata"]["name"]: pod for pod in pods if is_ready(pod)}
    have = context.adapters_heard.of(key, version, ready.values())
    failed: dict[str, str] = {}
    for name in sorted(set(ready) - have)[:MOST_LOGS]:
        said = await _said(context, ready[name]["metadata"]["namespace"], name)
        if said.get("version") != version:
            continue
        if refusals := _refusals(said, paths):
            failed |= refusals
        elif isinstance(served := said.get("served"), list) and set(paths) <= set(map(str, served)):
            have.add(name)
    context.adapters_heard.note(key, version, [ready[name] for name in have])
    return ServersView(frozenset(paths), frozenset(ready), frozenset(have), failed)


def _name(context: Context, source: ModelSource, base: Object) -> str:
    hub = hub_of(context, source)
    other = "" if hub == context.settings.hub_endpoint.rstrip("/") else hub
    return adapter_model_name(source, base["metadata"]["name"], other)


async def _model(
    context: Context, user: Object, spec: Qwen3DeploymentSpec, source: ModelSource, name: str, base: Object
) -> Object:
    """The Qwen3Model `name`, held by `user`. Raises ApiError where the API server refuses it."""
    namespace, uid = user["metadata"]["namespace"], user["metadata"]["uid"]
    scheduling = spec.scheduling.pod_fields(server=False)
    wanted = adapter_model(namespace, name, source, base["metadata"]["name"], scheduling)
    live = context.store.get(QWEN3_MODELS, namespace, name)
    if live is None:
        return await make_held(context, QWEN3_DEPLOYMENTS, user, wanted)
    if not is_made_for_users(live):
        return live
    if decides(live, uid) and UNDECODABLE not in live:
        live = await context.change(QWEN3_MODELS, live, wanted)
    if not holds(live, uid):
        live = await add_holders(context, QWEN3_MODELS, live, [reference_to(QWEN3_DEPLOYMENTS, user)])
    return live


def _verified(name: str, model: Object | None) -> Adapter | None:
    copy = verified_copy(model)
    if copy is None:
        return None
    facts = AdapterFacts.from_record(copy.get("config") or {}, copy.get("checkpoint"), copy.get("weightsBytes") or 0)
    return Adapter(name, str(copy["path"]), facts)


def _refusals(said: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, str]:
    """Name of an adapter of the list -> why vLLM does not load it. That another is still there disturbs nobody."""
    given = said.get("failed")
    return {name: str(given[name])[:512] for name in paths if name in given} if isinstance(given, dict) else {}


async def _said(context: Context, namespace: str, pod: str) -> Mapping[str, Any]:
    """What a server wrote last of its adapters; empty where that is not in the end of its log."""
    log = await context.cluster.logs(namespace, pod, CONTAINER, tail=LOG_LINES)
    for line in reversed(bounded_lines(log)):
        _, mark, words = line.partition(f"qwen3: {ADAPTERS_LINE} ")
        if mark and (said := json_object(words.strip())) is not None:
            return said
    return {}
