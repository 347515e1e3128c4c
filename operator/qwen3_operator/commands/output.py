"""Manifests as YAML text."""

from __future__ import annotations

from collections.abc import Iterable

import yaml


def to_yaml_stream(manifests: Iterable[object]) -> str:
    """Several manifests as one YAML stream."""
    return "---\n".join(to_yaml(manifest) for manifest in manifests)


def to_yaml(manifest: object) -> str:
    """One manifest as YAML, without anchors."""
    return yaml.dump(manifest, sort_keys=False, width=120, Dumper=_NoAliases)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True
