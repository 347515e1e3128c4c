"""Strategic merge patch on a pod template, as `kubectl patch` does it: lists of objects merge by their key."""

from __future__ import annotations

from typing import Any

from qwen3_operator.desired.patch_text import PatchError, parse_patch

__all__ = ["MERGE_KEYS", "PatchError", "patched", "strategic_merge"]

# From the `patchMergeKey` tags of PodTemplateSpec in k8s.io/api/core/v1. Lists not named here are replaced whole.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
}
# What the operator itself reads of a template that a patch has changed; the rest is the API server's to refuse.
_REFERENCES = ("valueFrom", "secretKeyRef", "configMapKeyRef", "secretRef", "configMapRef", "persistentVolumeClaim")
_MAPS = (*_REFERENCES, "secret", "configMap", "resources", "securityContext", "affinity")
_MAPS_OF_TEXTS = ("limits", "requests", "nodeSelector")
_LISTS_OF_MAPS = (*MERGE_KEYS, "envFrom", "items", "tolerations")
_LISTS_OF_TEXTS = ("args", "command")
_TEXTS = ("name", "value", "key", "claimName", "image", "mountPath")
_SHAPES = {
    **dict.fromkeys((*_MAPS, *_MAPS_OF_TEXTS), dict),
    **dict.fromkeys((*_LISTS_OF_MAPS, *_LISTS_OF_TEXTS), list),
    **dict.fromkeys(_TEXTS, str),
}
_ITEMS = {**dict.fromkeys(_LISTS_OF_MAPS, dict), **dict.fromkeys((*_LISTS_OF_TEXTS, *_MAPS_OF_TEXTS), str)}
FIELD = "podTemplatePatch"


def patched(template: dict[str, Any], patch: str | dict[str, Any] | None) -> dict[str, Any]:
    """The pod template with `patch` merged in; what the operator adds afterwards has its place there. Raises
    PatchError."""
    parsed = parse_patch(patch, FIELD) if isinstance(patch, str) else patch
    if not parsed:
        return template
    if "$patch" in parsed:
        raise PatchError(f"{FIELD}.$patch: a patch changes the pod template, and cannot take its place")
    result: dict[str, Any] = strategic_merge(template, parsed)
    for part in ("metadata", "spec"):
        if not isinstance(result.get(part), dict):
            raise PatchError(f"{FIELD}.{part}: it cannot be taken away")
    for part in ("labels", "annotations"):
        _require_strings(result["metadata"].get(part, {}), f"{FIELD}.metadata.{part}")
    _require_shapes(result["spec"], f"{FIELD}.spec")
    return result


def canonical(patch: str | dict[str, Any] | None) -> Any:
    """A patch whatever the way of writing it; one that cannot be read as it stands."""
    try:
        return parse_patch(patch, FIELD) if isinstance(patch, str) else patch
    except PatchError:
        return patch


def strategic_merge(base: Any, patch: Any, field: str = FIELD) -> Any:
    """`base` with `patch` merged in. null deletes a field; `$patch: delete` deletes an item or a map, `replace` starts
    afresh. Raises PatchError."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch", "merge")
    if directive == "replace":
        base = {}
    elif directive != "merge":
        raise PatchError(f"{field}.$patch: {_shown(directive)} is none of merge, replace and, in an item, delete")
    result = dict(base or {})
    for key, value in patch.items():
        where = f"{field}.{key}"
        if key == "$patch":
            continue
        if key.startswith("$"):
            raise PatchError(f"{where}: of the directives only $patch is known")
        if value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value, key, where)
    return result


def _require_strings(texts: Any, field: str) -> None:
    if not isinstance(texts, dict):
        raise PatchError(f"{field} is {_kind(texts)}, and has to be a map")
    for key, value in texts.items():
        if not isinstance(value, str):
            raise PatchError(f"{field}.{key} is {_kind(value)}, and has to be a string")


def _require_shapes(value: Any, field: str, key: str = "") -> None:
    """Check that maps, lists and texts are where the operator reads them. Raises PatchError."""
    if key in _SHAPES:
        _require(value, _SHAPES[key], field)
    if isinstance(value, dict):
        inner = [(f"{field}.{name}", name, item) for name, item in value.items()]
    else:
        inner = [(f"{field}[{at}]", "", item) for at, item in enumerate(value if isinstance(value, list) else ())]
    for where, name, item in inner:
        if key in _ITEMS:
            _require(item, _ITEMS[key], where)
        _require_shapes(item, where, name)


def _require(value: Any, shape: type, field: str) -> None:
    if _shape(value) is not shape:
        wanted = "a map" if shape is dict else "a list" if shape is list else "a text or a number"
        raise PatchError(f"{field} is {_kind(value)}, and has to be {wanted}")


def _merged(base: Any, value: Any, key: str, field: str) -> Any:
    if base is not None and _shape(base) != _shape(value):
        raise PatchError(f"{field} is {_kind(value)}, and has to be {_kind(base)}")
    if isinstance(value, list) and key in MERGE_KEYS:
        return _merge_list(base or [], value, MERGE_KEYS[key], field)
    return strategic_merge(base, value, field)


def _merge_list(base: list[Any], patch: list[Any], merge_key: str, field: str) -> list[Any]:
    result = list(base)
    for index, item in enumerate(patch):
        where = f"{field}[{index}]"
        if not isinstance(item, dict) or merge_key not in item:
            raise PatchError(f"{where} has no {merge_key}: items of {field.rsplit('.', 1)[-1]} merge by it")
        if _shape(item[merge_key]) is not str or item[merge_key] is None:
            raise PatchError(f"{where}.{merge_key} is {_kind(item[merge_key])}: items merge by it")
        at = next((i for i, old in enumerate(result) if old.get(merge_key) == item[merge_key]), None)
        if item.get("$patch") == "delete":
            result = [old for i, old in enumerate(result) if i != at]
        elif at is None:
            result.append(strategic_merge({}, item, where))
        else:
            result[at] = strategic_merge(result[at], item, where)
    return result


def _shape(value: Any) -> type:
    """dict, list, or str for all that is neither: whether a scalar is of the right type is the API server's to say."""
    return dict if isinstance(value, dict) else list if isinstance(value, list) else str


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a map"
    return "a list" if isinstance(value, list) else "null" if value is None else f"the value {_shown(value)}"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:60]}…"
