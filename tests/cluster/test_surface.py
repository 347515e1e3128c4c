"""What kubectl shows of the three kinds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.world import World
from tests.cluster.wrappers import Q3b, Q3d, claim

Object = dict[str, Any]
KINDS = ["Qwen3Deployment", "Qwen3Model", "Qwen3Batch"]
ANSWERED = {
    "result": "Complete",
    "total": 5,
    "lines": 10,
    "done": 4,
    "failed": 1,
    "tokensPerSecond": 100,
    "merged": True,
}


@pytest.fixture(scope="module")
def chat(serving: World) -> World:
    serving.apply(Q3d().engine(maxModelLen=4096, tensorParallelSize=2))
    serving.apply(Q3d("other").model("Qwen/Qwen3-1.7B").set(suspend=True))
    batch = Q3b().set(model={"id": "Qwen/Qwen3-1.7B"}).pod(termination_message=json.dumps(ANSWERED))
    serving.apply(claim("answers"), batch)
    serving.wait_ready("chat")
    serving.wait_ready("nightly", "Qwen3Batch")
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
        ("q3b.spec.input", "prompts"),
    ],
)
def test_explain(cluster: devcluster.Cluster, path: str, words: str) -> None:
    assert words in " ".join(cluster.kubectl("explain", path).split())


def test_columns_of_a_deployment(chat: World, cluster: devcluster.Cluster) -> None:
    rows = _table(cluster.kubectl("-n", chat.namespace, "get", "q3d"))
    assert list(rows["chat"]) == ["NAME", "READY", "REASON", "MODEL", "LENGTH", "TP", "REPLICAS", "AVAILABLE", "AGE"]
    row = rows["chat"]
    assert {k: row[k] for k in row if k not in ("NAME", "AGE")} == {
        "READY": "True",
        "REASON": "Serving",
        "MODEL": "Qwen/Qwen3-0.6B",
        "LENGTH": "4096",
        "TP": "2",
        "REPLICAS": "1",
        "AVAILABLE": "1",
    }
    assert (rows["other"]["READY"], rows["other"]["REASON"]) == ("False", "Suspended")
    wide = _table(cluster.kubectl("-n", chat.namespace, "get", "q3d", "-o", "wide"))["chat"]
    assert wide["ENDPOINT"] == f"http://chat.{chat.namespace}.svc.cluster.local:8000/v1"
    assert wide["IMAGE"].startswith("vllm/vllm-openai:")


def test_columns_of_a_model(chat: World, cluster: devcluster.Cluster) -> None:
    rows = _table(cluster.kubectl("-n", chat.namespace, "get", "q3m", "-o", "wide"))
    row = next(r for r in rows.values() if r["MODEL"] == "Qwen/Qwen3-0.6B")
    assert (row["READY"], row["REASON"]) == ("True", "Ready")
    assert row["DOWNLOAD"].endswith("GiB") and row["USERS"] == "1"
    assert row["CLAIM"] == row["NAME"]


def test_columns_of_a_batch(chat: World, cluster: devcluster.Cluster) -> None:
    narrow = _table(cluster.kubectl("-n", chat.namespace, "get", "q3b"))["nightly"]
    assert list(narrow) == ["NAME", "COMPLETED", "REASON", "MODEL", "DONE", "FAILED", "TOTAL", "ETA", "AGE"]
    row = _table(cluster.kubectl("-n", chat.namespace, "get", "q3b", "-o", "wide"))["nightly"]
    assert (row["COMPLETED"], row["DONE"], row["FAILED"], row["TOTAL"]) == ("True", "4", "1", "10")
    assert row["MODEL"].startswith("qwen3-1-7b-")
    assert row["OUTPUT"] == "answers:out.jsonl"


@pytest.mark.parametrize(
    ("names", "objects"),
    [
        ("qwen3deployments qwen3deployment q3d", 2),
        ("qwen3models qwen3model q3m", 2),
        ("qwen3batches qwen3batch q3b", 1),
    ],
)
def test_names(chat: World, cluster: devcluster.Cluster, names: str, objects: int) -> None:
    for name in names.split():
        assert len(cluster.kubectl("-n", chat.namespace, "get", name, "--no-headers").splitlines()) == objects, name


def test_category(chat: World, cluster: devcluster.Cluster) -> None:
    printed = cluster.kubectl("-n", chat.namespace, "get", "qwen3", "--no-headers", "-o", "name").splitlines()
    assert len(printed) == 5
    assert {"qwen3deployment.serving.qwen3.dev/chat", "qwen3batch.serving.qwen3.dev/nightly"} <= set(printed)


@pytest.mark.parametrize(
    ("kind", "field"),
    [("Qwen3Deployment", "spec.model.id"), ("Qwen3Model", "spec.id"), ("Qwen3Batch", "spec.model.id")],
)
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
