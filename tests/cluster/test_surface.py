"""What kubectl shows of the two kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

Object = dict[str, Any]
KINDS = ["Qwen3Deployment", "Qwen3Model"]


@pytest.fixture(scope="module")
def chat(serving: World) -> World:
    serving.apply(Q3d().engine(maxModelLen=4096, tensorParallelSize=2))
    serving.apply(Q3d("other").model("Qwen/Qwen3-1.7B").set(suspend=True))
    serving.wait_ready("chat")
    serving.wait_condition("other", "ModelReady", "True")
    return serving


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described(api: Api, kind: str) -> None:
    """In what the API server publishes, from which `kubectl explain` reads."""
    published = api.request("GET", "/openapi/v3/apis/serving.qwen3.dev/v1alpha1")["components"]["schemas"]
    schema = next(s for name, s in published.items() if name.endswith(f".{kind}"))

    def silent(node: Object, path: str) -> Iterator[str]:
        for name, below in node.get("properties", {}).items():
            if path or name in ("spec", "status"):
                if not below.get("description"):
                    yield f"{path}.{name}"
                yield from silent(below, f"{path}.{name}")
        for part in ("items", "additionalProperties"):
            if isinstance(node.get(part), dict):
                yield from silent(node[part], f"{path}[]")

    assert schema["description"]
    assert not list(silent(schema, ""))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("q3d", "A Qwen3 model served by vLLM behind an OpenAI-compatible endpoint."),
        ("q3d.spec.model.storage", "The volume that keeps the weights."),
        ("qwen3deployment.spec.engine.maxModelLen", "in tokens"),
        ("q3m.status.download.bytesDone", "Bytes that are on the volume."),
    ],
)
def test_explain(cluster: devcluster.Cluster, path: str, words: str) -> None:
    assert words in " ".join(cluster.kubectl("explain", path).split())


def test_columns_of_a_deployment(chat: World, cluster: devcluster.Cluster) -> None:
    rows = _table(cluster.kubectl("-n", chat.namespace, "get", "q3d"))
    assert list(rows["chat"]) == ["NAME", "READY", "REASON", "MODEL", "LENGTH", "TP", "REPLICAS", "AGE"]
    row = rows["chat"]
    assert {k: row[k] for k in row if k not in ("NAME", "AGE")} == {
        "READY": "True",
        "REASON": "Serving",
        "MODEL": "Qwen/Qwen3-0.6B",
        "LENGTH": "4096",
        "TP": "2",
        "REPLICAS": "1",
    }
    assert (rows["other"]["READY"], rows["other"]["REASON"]) == ("False", "Suspended")
    wide = _table(cluster.kubectl("-n", chat.namespace, "get", "q3d", "-o", "wide"))["chat"]
    assert wide["ENDPOINT"] == f"http://chat.{chat.namespace}.svc.cluster.local:8000/v1"
    assert wide["IMAGE"].startswith("vllm/vllm-openai:")


def test_columns_of_a_model(chat: World, cluster: devcluster.Cluster) -> None:
    rows = _table(cluster.kubectl("-n", chat.namespace, "get", "q3m", "-o", "wide"))
    row = next(r for r in rows.values() if r["MODEL"] == "Qwen/Qwen3-0.6B")
    assert (row["READY"], row["REASON"]) == ("True", "Ready")
    assert row["BYTES"] == row["TOTAL"] == "1519209216"
    assert row["CLAIM"] == row["NAME"]
    assert row["USED BY"] == '["chat"]'


@pytest.mark.parametrize("name", ["qwen3deployments", "qwen3deployment", "q3d", "qwen3models", "qwen3model", "q3m"])
def test_names(chat: World, cluster: devcluster.Cluster, name: str) -> None:
    assert len(cluster.kubectl("-n", chat.namespace, "get", name, "--no-headers").splitlines()) == 2


def test_category(chat: World, cluster: devcluster.Cluster) -> None:
    printed = cluster.kubectl("-n", chat.namespace, "get", "qwen3", "--no-headers", "-o", "name").splitlines()
    assert len([name for name in printed if "batch" not in name]) == 4
    assert "qwen3deployment.serving.qwen3.dev/chat" in printed


@pytest.mark.parametrize(("kind", "field"), [("Qwen3Deployment", "spec.model.id"), ("Qwen3Model", "spec.id")])
def test_selectable_fields(chat: World, kind: str, field: str) -> None:
    (found,) = chat.list(kind, fieldSelector=f"{field}=Qwen/Qwen3-1.7B")
    assert "1.7B" in str(found["spec"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_user_cannot_write_the_status_with_the_spec(chat: World, kind: str) -> None:
    name = chat.list(kind)[0]["metadata"]["name"]
    before = chat.must(kind, name)
    after = chat.patch(kind, name, {"status": {"observedGeneration": 99}})
    assert after["status"]["observedGeneration"] == before["status"]["observedGeneration"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_kubectl_wait(chat: World, cluster: devcluster.Cluster) -> None:
    """The word that scripts wait for."""
    assert "condition met" in cluster.kubectl("-n", chat.namespace, "wait", "q3d/chat", "--for=condition=Ready")


def _table(printed: str) -> dict[str, dict[str, str]]:
    """Rows of what kubectl prints, by name; columns are two or more spaces apart."""
    header, *rows = printed.splitlines()
    starts = [(m.group().strip(), m.start()) for m in re.finditer(r"\S+( \S+)*", header)]
    bounds = [start for _, start in starts[1:]] + [None]
    table = {}
    for row in rows:
        cells = {name: row[start:end].strip() for (name, start), end in zip(starts, bounds, strict=True)}
        table[cells["NAME"]] = cells
    return table
