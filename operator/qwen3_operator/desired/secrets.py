"""Which Secrets servers read at their start, and what is written of them, so that one that changes makes new servers.

The kubelet brings a changed Secret that is mounted (the keys of teams) to servers that run, never one in a variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from qwen3_operator.api import GROUP
from qwen3_operator.desired.made_from import MadeFrom
from qwen3_operator.naming import digest

ANNOTATION = f"{GROUP}/secrets"
"""On a pod template whose servers were made anew because a Secret changed."""
Object = Mapping[str, Any]


def read_at_start(template: Object) -> list[tuple[str, str]]:
    """Name and key of each Secret that is a variable in a pod template; the key is empty where all of it is."""
    found: set[tuple[str, str]] = set()
    for containers in ("initContainers", "containers"):
        for container in _objects(template["spec"].get(containers)):
            for variable in _objects(container.get("env")):
                reference = (variable.get("valueFrom") or {}).get("secretKeyRef") or {}
                found.add((str(reference.get("name", "")), str(reference.get("key", ""))))
            for source in _objects(container.get("envFrom")):
                found.add((str((source.get("secretRef") or {}).get("name", "")), ""))
    return sorted(pair for pair in found if pair[0])


def with_secrets(made: MadeFrom, seen: Mapping[str, str], *, restart: bool) -> MadeFrom:
    """`made` as Secrets are now. `seen`: a digest of each, by name and key.

    One that differs from what is noted makes a new template, of the same values, where its servers may `restart`. What
    was not noted yet (nobody read it when they were made) is noted, and changes nothing of what runs.
    """
    noted = dict(made.secrets)
    now = {**noted, **seen} if restart else {**seen, **noted}
    if now == noted:
        return made
    changed = any(noted[name] != value for name, value in now.items() if name in noted)
    return replace(made, secrets=now, template=_annotated(made.template, now) if changed else made.template)


def _annotated(template: Object, secrets: Mapping[str, str]) -> dict[str, Any]:
    metadata = template.get("metadata") or {}
    annotations = (metadata.get("annotations") or {}) | {ANNOTATION: digest(secrets, 16)}
    return {**template, "metadata": {**metadata, "annotations": annotations}}


def _objects(value: Any) -> Iterator[Object]:
    """The objects of a list: a patch may have put anything there, which is the API server's to refuse."""
    if isinstance(value, list):
        yield from (it for it in value if isinstance(it, Mapping))
