"""The CRDs' rules (CEL) that are no part of the pydantic models, for files: what the API server would refuse.

There is no CEL interpreter here. Rules of two common forms are read from their text; the others stand below, each under
its own message. A test holds that every row of tests/cluster/constraint_tables comes out as on a real API server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

Schema = Mapping[str, Any]
_MATCHES = re.compile(r"self\.matches\('(?P<pattern>[^']+)'\)(?P<and> && !self\.contains\('\.\.'\))?")
_ONE_OF = re.compile(r"self in \[(?P<values>[\d, ]+)\]")
_AT_MOST = re.compile(r"double\(self\) <= (?P<most>[\d.]+)")
_NAME = re.compile(
    r"self\.metadata\.name\.size\(\) <= (?P<most>\d+) && self\.metadata\.name\.matches\('(?P<pattern>[^']+)'\)"
)


def broken_rules(value: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """`path: words` of every rule that the value breaks, as far as it is a rule of the value alone."""
    for rule in schema.get("x-kubernetes-validations", ()):
        check = _check(rule["rule"], rule["message"])
        if check is not None and not check(value):
            yield f"{path or 'metadata.name'}: {rule['message']}"
    if isinstance(value, list):
        if len(set(keys := list(_keys(value, schema)))) < len(keys):
            yield f"{path}: has the same item twice"
        for index, item in enumerate(value):
            yield from broken_rules(item, schema.get("items", {}), f"{path}[{index}]")
    elif isinstance(value, Mapping):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, item in value.items():
            below = properties.get(key, more)
            if isinstance(below, Mapping) and item is not None:
                yield from broken_rules(item, below, f"{path}.{key}".lstrip("."))


def _keys(value: list[Any], schema: Schema) -> Iterator[str]:
    """The keys of the items of a set, or of a list that is a map; nothing for other lists."""
    kind, names = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", ())
    if kind == "set":
        yield from map(str, value)
    elif kind == "map":
        yield from (str([item.get(name) for name in names]) for item in value if isinstance(item, Mapping))


def _check(rule: str, message: str) -> Callable[[Any], bool] | None:
    if match := _MATCHES.fullmatch(rule):
        pattern, dots = re.compile(match["pattern"]), bool(match["and"])
        return lambda it: pattern.search(it) is not None and not (dots and ".." in it)
    if match := _ONE_OF.fullmatch(rule):
        values = set(map(int, match["values"].split(",")))
        return lambda it: it in values
    if match := _AT_MOST.fullmatch(rule):
        most = float(match["most"])
        return lambda it: float(it) <= most
    if match := _NAME.fullmatch(rule):
        longest, name = int(match["most"]), re.compile(match["pattern"])
        return lambda it: len(it["metadata"]["name"]) <= longest and name.search(it["metadata"]["name"]) is not None
    return next((check for words, check in _BY_MESSAGE.items() if message.startswith(words)), None)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _inside(text: str) -> bool:
    return not text.startswith("/") and ".." not in text.split("/")


def _have_own_names(engine: Mapping[str, Any]) -> bool:
    return not {adapter["name"] for adapter in engine.get("loraAdapters") or ()} & set(_served(engine))


def _differ_from_the_models(spec: Mapping[str, Any]) -> bool:
    engine = spec.get("engine") or {}
    if "model" not in spec or _served(engine):
        return True
    return not any(spec["model"]["id"].endswith(f"/{it['name']}") for it in engine.get("loraAdapters") or ())


def _served(engine: Mapping[str, Any]) -> list[str]:
    return engine.get("servedModelNames") or []


def _of_an_adapter(spec: Mapping[str, Any], field: str, *names: str) -> bool:
    """Whether it is none, or has none of `names` in `field`."""
    return "adapterOf" not in spec or not set(names) & set(spec.get(field) or ())


def _has_servers_to_choose(spec: Mapping[str, Any]) -> bool:
    gateway = (spec.get("service") or {}).get("gateway") or {}
    return "endpointPicker" not in gateway or (spec.get("autoscaling") or {}).get("minReplicas", 1) > 0


_TARGETS = {"concurrency", "queue", "kvCache", "auto"}
_BY_MESSAGE: Mapping[str, Callable[[Any], bool]] = {
    "the name kubernetes is that of": lambda it: it["metadata"]["name"] != "kubernetes",
    "must be a URL of the hub": _is_address,
    "must be a folder inside the volume": _inside,
    "must be a file inside the volume": lambda it: _inside(it) and not it.endswith("/"),
    "must be one pattern": lambda it: "," not in it,
    "value and valueFrom exclude each other": lambda it: not ("value" in it and "valueFrom" in it),
    "give either apiKeySecretRef or keys": lambda it: ("apiKeySecretRef" in it) != ("keys" in it),
    "maxReplicas must be at least minReplicas": lambda it: it["maxReplicas"] >= it.get("minReplicas", 1),
    "give one of concurrency, queue, kvCache and auto": lambda it: len(_TARGETS & set(it)) == 1,
    "auto is true, or left out": lambda it: it.get("auto", True) is True,
    "autoscaling.target.auto is what spec.benchmark measures": lambda it: (
        "benchmark" in it or "auto" not in (it.get("autoscaling") or {}).get("target", {})
    ),
    "limits are of teams": lambda it: "keys" in it or "limits" not in it,
    "an adapter of loraAdapters has a name of servedModelNames": _have_own_names,
    "an adapter of engine.loraAdapters has the name by which": _differ_from_the_models,
    "an adapter lies on the claim of its model": lambda it: _of_an_adapter(
        it, "storage", "size", "storageClassName", "accessMode", "existingClaim", "retentionPolicy"
    ),
    "an adapter is just its own files": lambda it: _of_an_adapter(it, "download", "allowPatterns", "ignorePatterns"),
    "header must be neither Host nor Authorization": lambda it: (
        (it.get("header") or {}).get("name", "").lower() not in ("host", "authorization")
    ),
    "an endpoint picker chooses among servers that are there": _has_servers_to_choose,
    "verify is for target OwnEngine": lambda it: it.get("target") != "Running" or "verify" not in it,
    "apiKeySecretRef is for target Running": lambda it: it.get("target") == "Running" or "apiKeySecretRef" not in it,
    "existingClaim excludes size": lambda it: (
        "existingClaim" not in it or not {"size", "storageClassName", "accessMode"} & set(it)
    ),
    "an existingClaim is always retained": lambda it: (
        "existingClaim" not in it or it.get("retentionPolicy", "Retain") == "Retain"
    ),
}
