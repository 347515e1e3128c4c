"""Every manifest that users may copy is taken by the API server as it stands."""

from __future__ import annotations

from typing import Any

import devcluster
import pytest
import yaml
from tests.documents.snippets import manifests

ALL = [it for it in manifests() if not it[1]["apiVersion"].startswith("argoproj.io/")]
"""Argo CD's own are applied where it runs (tests/gitops)."""


@pytest.mark.parametrize(("where", "manifest"), ALL, ids=[f"{w}-{m['kind']}-{m['metadata']['name']}" for w, m in ALL])
def test_it_is_accepted(cluster: devcluster.Cluster, where: str, manifest: dict[str, Any]) -> None:
    here = {**manifest, "metadata": {**manifest["metadata"], "namespace": "default"}}
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=yaml.safe_dump(here))
