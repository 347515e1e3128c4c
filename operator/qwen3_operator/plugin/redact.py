"""What must not leave the cluster in a bug report: secrets, by where they stand and by their form. Pure.

Objects lose the values of every environment variable that the operator does not set itself, whatever is named like a
key, annotations that repeat the object, and users' prompts; texts lose what looks like a credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "REDACTED"
DEEPEST = 60
_PLAIN_VARIABLES = frozenset(
    (
        *("HOME", "USER", "XDG_CACHE_HOME", "VLLM_CACHE_ROOT", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
        *("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "QWEN3_SERVER", "PYTHONUNBUFFERED"),
        *("QWEN3_OPERATOR_ENGINE_IMAGE", "QWEN3_OPERATOR_ENGINE_VERSION", "QWEN3_OPERATOR_DOWNLOADER_IMAGE"),
        *("QWEN3_OPERATOR_NAMESPACES", "QWEN3_OPERATOR_WORKERS", "QWEN3_OPERATOR_RESYNC_SECONDS"),
        *("QWEN3_OPERATOR_LEASE_NAME", "QWEN3_OPERATOR_LOG_FORMAT", "QWEN3_OPERATOR_LOG_LEVEL"),
        *("QWEN3_OPERATOR_READ_SECRETS", "QWEN3_OPERATOR_POD_IDS", "QWEN3_OPERATOR_CLUSTER_DOMAIN"),
    )
)
"""Variables whose values are the operator's own words."""
_SECRET_KEY = re.compile(
    r"(?i)(?:^|[-_.])(?:token|tokens|secret|secrets|password|passwd|pwd|credential|credentials|auth|authorization"
    r"|api[-_]?keys?|access[-_]?keys?|private[-_]?keys?|cookie)(?:$|[-_.])|(?:Token|Secret|Password|ApiKey)$"
)
_REFERENCE = re.compile(r"(?i)(?:ref|refs|name|names|secrets|path|auth)$")
"""Keys that name where a secret is, and do not hold it: apiKeySecretRef, imagePullSecrets."""
_DROPPED_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration",)
_PROMPTS = ("prompts", "prompt", "contains", "system")
_FLAG = re.compile(r"--?[A-Za-z0-9-]*(?:key|token|secret|password|credential)[A-Za-z0-9-]*", re.IGNORECASE)

_TEXTS = (
    (re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?)(?:bearer|basic|token)?\s*[^\s\"',}]+"), rf"\1{REDACTED}"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{6,}"), rf"\1\2{REDACTED}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@\"']{1,512}@"), rf"\1{REDACTED}@"),
    (
        re.compile(
            r"(?i)([A-Za-z0-9_.-]{0,64}(?:api[-_]?key|access[-_]?key|token|secret|password|passwd|credential)s?"
            r"[\"']?\s{0,4}[=:]\s{0,4}\[?\s{0,4}[\"']?)"
            r"(?!\d{1,12}\b|None\b|null\b|True\b|False\b)([^\s\"',;)\]}]{4,4096})"
        ),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(
            r"(?i)(--[a-z0-9-]{0,64}(?:key|token|secret|password|credential)[a-z0-9-]{0,32}\s{1,4})[^\s-]\S{0,4096}"
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"\b(?:sk|hf|ms|ghp|gho|glpat|xox[abp])[-_][A-Za-z0-9_-]{8,}"), REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}"), REDACTED),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), REDACTED),
    (
        re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.S),
        REDACTED,
    ),
)


def text(words: str) -> str:
    """The text without what looks like a credential."""
    for pattern, instead in _TEXTS:
        words = pattern.sub(instead, words)
    return words


def obj(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The object without secrets, without managedFields, and of a ConfigMap without its data."""
    found: dict[str, Any] = _value(manifest, "", 0)
    meta = found.get("metadata")
    if isinstance(meta, dict):
        meta.pop("managedFields", None)
    for key in ("data", "binaryData", "stringData"):
        if isinstance(data := found.get(key), dict):
            found[key] = {name: f"({len(str(value))} characters)" for name, value in data.items()}
    return found


def _value(value: Any, key: str, level: int) -> Any:
    if level > DEEPEST:
        return "(nested too deep)"
    if isinstance(value, Mapping):
        return _map(value, key, level)
    if isinstance(value, list | tuple):
        if key in _PROMPTS:
            return [f"({len(str(item))} characters)" for item in value]
        if key in ("env", "variables"):
            return [_variable(item, level) for item in value]
        return _words([_value(item, key, level + 1) for item in value])
    if isinstance(value, str):
        return _string(value, key)
    return value


def _map(value: Mapping[str, Any], key: str, level: int) -> dict[str, Any]:
    found = {}
    for name, item in value.items():
        if key == "annotations" and name in _DROPPED_ANNOTATIONS:
            continue
        if _is_secret(str(name)) and isinstance(item, str | int | list) and not isinstance(item, bool):
            found[name] = REDACTED
        else:
            found[name] = _value(item, str(name), level + 1)
    return found


def _is_secret(name: str) -> bool:
    return bool(_SECRET_KEY.search(name)) and not _REFERENCE.search(name)


def _variable(item: Any, level: int) -> Any:
    """An environment variable: its name stays, and where its value comes from."""
    if not isinstance(item, Mapping):
        return REDACTED
    found = {name: _value(inner, str(name), level + 1) for name, inner in item.items()}
    if "value" in found and str(item.get("name")) not in _PLAIN_VARIABLES:
        found["value"] = REDACTED
    return found


def _words(words: list[Any]) -> list[Any]:
    """A command line: what follows a flag for a secret goes."""
    found: list[Any] = []
    hidden = False
    for word in words:
        if isinstance(word, str) and word.startswith("-"):
            flag, equals, _ = word.partition("=")
            hidden = bool(_FLAG.fullmatch(flag)) and not equals
            found.append(f"{flag}={REDACTED}" if equals and _FLAG.fullmatch(flag) else word)
        else:
            found.append(REDACTED if hidden else word)
    return found


def _string(value: str, key: str) -> str:
    if key in _PROMPTS:
        return f"({len(value)} characters)"
    if key == "podTemplatePatch":
        return _patch(value)
    inner = _json(value)
    return text(value) if inner is None else inner


def _patch(value: str) -> str:
    """A pod template patch is an object as text: what cannot be read is not shown."""
    import yaml

    from qwen3_operator.commands.output import to_yaml

    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError, ValueError):
        return REDACTED
    return to_yaml(_value(parsed, "", 0)) if isinstance(parsed, dict) else REDACTED


def _json(value: str) -> str | None:
    """A JSON object inside a string (an annotation, a setting of the middleware), redacted; None where it is none."""
    import json

    if not value.startswith("{"):
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return json.dumps(_value(parsed, "", 0), ensure_ascii=False) if isinstance(parsed, dict) else None
