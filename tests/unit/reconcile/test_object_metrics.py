"""What /metrics shows of objects, from the operator's own reconciles; and that it goes with them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import prometheus_client
import pytest
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, SIZE, World, everything

from qwen3_operator.controller.metrics import forget
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.reconcile import Key

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
PREFIX = "qwen3_operator_"


def value(name: str, /, **labels: str) -> float | None:
    return prometheus_client.REGISTRY.get_sample_value(PREFIX + name, labels)


def series_of(name: str) -> list[str]:
    """Samples that name an object."""
    found = [sample for family in prometheus_client.REGISTRY.collect() for sample in family.samples]
    objects = ("name", "qwen3deployment", "qwen3model", "qwen3batch")
    return [sample.name for sample in found if any(sample.labels.get(label) == name for label in objects)]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    it = await everything()
    yield it
    for kind, namespace, name in list(it.cluster.objects):
        forget(Key(kind, namespace, name))


async def test_servers(world: World) -> None:
    own = {"namespace": NAMESPACE, "qwen3deployment": SERVED}
    assert value("deployment_replicas", **own) == value("deployment_ready_replicas", **own) == 1
    assert value("deployment_gpus", **own) == 1, world.status(QWEN3_DEPLOYMENTS, SERVED)
    world.changed(QWEN3_DEPLOYMENTS, SERVED)["spec"]["suspend"] = True
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert value("deployment_replicas", **own) == 0
    assert value("deployment_gpus", **own) == 1, "the pod is there still"
    conditions = {"kind": "Qwen3Deployment", "namespace": NAMESPACE, "name": SERVED}
    assert value("condition", **conditions, type="ModelReady") == 1
    assert value("not_ready", **conditions, reason="Suspended") == 1


async def test_why_something_is_not_ready(world: World) -> None:
    own = {"kind": "Qwen3Deployment", "namespace": NAMESPACE, "name": "wrong"}
    reason = world.status(QWEN3_DEPLOYMENTS, "wrong")["Ready"][1]
    assert value("condition", **own, type="Stalled") == 1
    assert value("not_ready", **own, reason=reason) == 1
    world.changed(QWEN3_DEPLOYMENTS, "wrong")["spec"] |= {"engine": {}, "suspend": True}
    await world.reconcile(QWEN3_DEPLOYMENTS, "wrong")
    assert value("condition", **own, type="Stalled") == 0
    assert value("not_ready", **own, reason=reason) is None, "one reason at a time"


async def test_a_download(world: World) -> None:
    own = {"namespace": NAMESPACE, "qwen3model": "large"}
    assert value("download_bytes", **own) == SIZE // 3, world.status(QWEN3_MODELS, "large")
    assert value("download_size_bytes", **own) == SIZE
    names = ("downloaded_bytes_total", "download_seconds_count", "downloads_total")
    before = [value(name, **({"result": "complete"} if name == names[2] else {})) or 0 for name in names]
    world.download_ends("large")
    await world.reconcile(QWEN3_MODELS, "large", 3)
    after = [value(name, **({"result": "complete"} if name == names[2] else {})) or 0 for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [SIZE - SIZE // 3, 1, 1], "counted once"
    assert value("download_bytes", **own) is None and value("download_size_bytes", **own) is None


async def test_the_series_go_with_the_object(world: World) -> None:
    for kind, name in ((QWEN3_DEPLOYMENTS, SERVED), (QWEN3_MODELS, "large")):
        assert series_of(name)
        gone = world.cluster.objects.pop((kind.kind, NAMESPACE, name))
        world.operator._store.remove(kind, gone["metadata"])
        await world.reconcile(kind, name)
        assert series_of(name) == []


async def test_the_page_names_every_metric(world: World) -> None:
    families = [family for family in prometheus_client.REGISTRY.collect() if family.name.startswith(PREFIX)]
    suffix = {"counter": "_total", "info": "_info"}
    shown = {family.name + suffix.get(family.type, "") for family in families}
    reported = set(re.findall(rf"^\| `({PREFIX}\w+)`", PAGE.read_text(), re.MULTILINE))
    assert reported == shown
