"""Strategic merge patch on a pod template, as `kubectl patch` does it: lists of objects merge by their key."""

from __future__ import annotations

from typing import Any

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


class PatchError(ValueError):
    """The patch cannot be merged; the message names the field."""


def strategic_merge(base: Any, patch: Any, field: str = "podTemplatePatch") -> Any:
    """`base` with `patch` merged in. null deletes a field; `$patch: delete` an item; `replace` starts afresh."""
    if not isinstance(patch, dict) or not isinstance(base, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    result = dict(base)
    for key, value in patch.items():
        where = f"{field}.{key}"
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list) and key in MERGE_KEYS:
            result[key] = _merge_list(result.get(key) or [], value, MERGE_KEYS[key], where)
        elif key != "$patch":
            result[key] = strategic_merge(result.get(key), value, where)
    return result


def _merge_list(base: list[Any], patch: list[Any], merge_key: str, field: str) -> list[Any]:
    result = list(base)
    for index, item in enumerate(patch):
        if not isinstance(item, dict) or merge_key not in item:
            raise PatchError(f"{field}[{index}] has no {merge_key}: items of {field.rsplit('.', 1)[-1]} merge by it")
        at = next((i for i, old in enumerate(result) if old.get(merge_key) == item[merge_key]), None)
        if item.get("$patch") == "delete":
            result = [old for i, old in enumerate(result) if i != at]
        elif at is None:
            result.append({k: v for k, v in item.items() if k != "$patch" and v is not None})
        else:
            result[at] = strategic_merge(result[at], item, f"{field}[{index}]")
    return result
