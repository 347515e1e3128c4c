"""Bad input that only the cluster can find: a condition in words within 10 s, and mending the cause is enough.

All mistakes are made at once, each in a namespace of its own, so that the waiting is done once. docs/bad-input.md is
made of what is read here: `QWEN3_WRITE_DOCS=1` writes it anew.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.cluster.api import Api, Refused
from tests.cluster.bad_inputs import BAD_INPUTS
from tests.cluster.conftest import ROOT
from tests.cluster.constraints import changed
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d
from tests.kubernetes import newest_only

Object = dict[str, Any]
DOCUMENT = ROOT / "docs" / "bad-input.md"
SHOWN_WITHIN = 10.0

REFUSED: dict[str, tuple[str, Object, str]] = {
    "An unknown field": ("spec.engine.maxModelLenght", {"spec.engine.maxModelLenght": 1}, "unknown field"),
    "A model without its owner": ("spec.model.id", {"spec.model.id": "Qwen3-8B"}, "must be OWNER/NAME"),
    "A negative length": ("spec.engine.maxModelLen", {"spec.engine.maxModelLen": -1}, "greater than or equal to 1"),
    "No GPU": ("spec.engine.tensorParallelSize", {"spec.engine.tensorParallelSize": 0}, "greater than or equal to 1"),
    "Two fields that exclude each other": (
        "spec.model.storage",
        {"spec.model.storage": {"existingClaim": {"name": "a"}, "size": "1Gi"}},
        "existingClaim excludes size",
    ),
    "GPUs among the resources": (
        "spec",
        {"spec.resources": {"limits": {"nvidia.com/gpu": "2"}}},
        "the GPU count follows from",
    ),
    "A name too long for a Service": ("metadata.name", {"metadata.name": "a" * 46}, "at most 45"),
}


@dataclass
class Seen:
    """What became of one mistake."""

    world: World
    condition: Object = field(default_factory=dict)
    known_at: float | None = None
    shown_after: float | None = None
    """Seconds from when the cluster knew."""
    described: str = ""
    """The namespace, where something did not come in time."""
    healed_after: float | None = None
    lost: str = ""
    ready: Object = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen(api: Api, the_operator: OperatorProcess, make_world: Callable[[str], World]) -> Iterator[dict[str, Seen]]:
    """Make every mistake, wait for the conditions, mend, wait until all are Ready."""
    the_operator.keep_running()
    found = {name: Seen(make_world(name)) for name in BAD_INPUTS}
    for name, bad in BAD_INPUTS.items():
        bad.cause(found[name].world)
    time.sleep(1.5)  # the simulated nodes learn of their Stages
    began = time.monotonic()
    for name, bad in BAD_INPUTS.items():
        found[name].world.apply(bad.cr)
    _until(began + SHOWN_WITHIN + 30, lambda: not [n for n, it in found.items() if not _observe(n, it)])
    claims = {name: _claims(it.world) for name, it in found.items()}
    mended = time.monotonic()
    for name, bad in BAD_INPUTS.items():
        if found[name].shown_after is None:
            found[name].described = found[name].world.describe()
        bad.mend(found[name].world)
    longest = max(bad.heals_within for bad in BAD_INPUTS.values())
    _until(mended + longest, lambda: not [it for it in found.values() if not _healed(it, mended)])
    for name, it in found.items():
        if it.healed_after is None:
            it.described = it.described or it.world.describe()
        it.ready = it.world.get("Qwen3Deployment", "chat") or {}
        it.lost = ", ".join(claims[name] - _claims(it.world))
    yield found
    for name, it in found.items():
        BAD_INPUTS[name].clean(it.world)
        api.delete("Qwen3Deployment", it.world.namespace, "chat")
        api.delete("Stage", None, f"download-{it.world.namespace}")
        api.delete("Namespace", None, it.world.namespace)


def _until(deadline: float, done: Callable[[], bool]) -> None:
    while not done() and time.monotonic() < deadline:
        time.sleep(0.2)


def _observe(name: str, it: Seen) -> bool:
    if it.shown_after is None:
        bad = BAD_INPUTS[name]
        if it.known_at is None and bad.known(it.world):
            it.known_at = time.monotonic()
        condition = it.world.condition("chat", bad.condition)
        it.condition = condition or it.condition
        if condition.get("status") == "False" and condition["reason"] == bad.reason:
            now = time.monotonic()
            it.shown_after = now - (it.known_at or now)
    return it.shown_after is not None


def _healed(it: Seen, mended: float) -> bool:
    if it.healed_after is None and it.world.is_ready("chat"):
        it.healed_after = time.monotonic() - mended
    return it.healed_after is not None


def _claims(world: World) -> set[str]:
    """What has been downloaded stands on these."""
    return {f"{c['metadata']['name']} ({c['metadata']['uid']})" for c in world.list("PersistentVolumeClaim")}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_it_is_reported_in_words(seen: dict[str, Seen], name: str) -> None:
    bad, it = BAD_INPUTS[name], seen[name]
    assert it.shown_after is not None, f"no {bad.condition}=False {bad.reason}, last {it.condition}\n{it.described}"
    assert bad.names in it.condition["message"]
    print(f"{name}: reported after {it.shown_after:.1f} s")
    assert it.shown_after <= SHOWN_WITHIN, f"after {it.shown_after:.1f} s"


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_mending_the_cause_is_enough(seen: dict[str, Seen], name: str) -> None:
    bad, it = BAD_INPUTS[name], seen[name]
    assert it.healed_after is not None, it.described
    print(f"{name}: healed after {it.healed_after:.1f} s")
    assert it.healed_after <= bad.heals_within
    assert it.ready["metadata"]["generation"] == 1, "nobody touched the Qwen3Deployment"


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_nothing_that_was_downloaded_is_lost(seen: dict[str, Seen], name: str) -> None:
    assert not seen[name].lost


@pytest.mark.parametrize("what", REFUSED)
def test_the_api_server_refuses(api: Api, what: str) -> None:
    _, change, words = REFUSED[what]
    assert words in _refusal(api, change)


@newest_only("it shows the newest API server's words")
def test_the_document_says_the_same(api: Api, seen: dict[str, Seen]) -> None:
    """docs/bad-input.md shows what users see, word by word."""
    text = _document(api, seen)
    if os.environ.get("QWEN3_WRITE_DOCS"):
        DOCUMENT.write_text(text)
    assert DOCUMENT.read_text() == text, "write it anew: QWEN3_WRITE_DOCS=1 make test-cluster"


def _refusal(api: Api, change: Object) -> str:
    with pytest.raises(Refused) as refused:
        api.create(changed(Q3d("chat", "default").manifest, change), dry_run=True)
    return str(refused.value)


def _document(api: Api, seen: dict[str, Seen]) -> str:
    lines = [
        "# Bad input, and what you see of it",
        "",
        "<!-- Made by tests/cluster/test_bad_input.py from what a real API server and the operator say. -->",
        "",
        "## Refused at once",
        "",
        "`kubectl apply` answers with these words:",
        "",
        "| What is wrong | Field | Answer |",
        "| --- | --- | --- |",
    ]
    for what, (path, change, _) in REFUSED.items():
        answer = re.sub("a{46}", "aaa…", _refusal(api, change)).split(" is invalid: ")[-1]
        lines.append(f"| {what} | `{path}` | {_cell(answer)} |")
    lines += [
        "",
        "## Reported by a condition",
        "",
        "What only the cluster or the hub can know stands in the conditions of the Qwen3Deployment within 10 s of",
        "its being known; `kubectl get q3d` shows the reason. Mend the cause, and it goes on by itself: the object",
        "need not be touched, and what is downloaded already is kept.",
        "",
        "| What is wrong | Condition | Reason | Message |",
        "| --- | --- | --- | --- |",
    ]
    for name, bad in BAD_INPUTS.items():
        message = _plain(seen[name].condition.get("message", ""), seen[name].world.namespace)
        lines.append(f"| {bad.what} | {bad.condition} | {bad.reason} | {_cell(message)} |")
    return "\n".join(lines) + "\n"


def _plain(message: str, namespace: str) -> str:
    """A message without what differs from run to run."""
    message = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", message.replace(namespace, "NAMESPACE"))
    message = re.sub(r"\b(qwen3-0-6b)-[0-9a-f]{8}(-[0-9a-f]{8})?(-[a-z0-9]{5})?\b", r"\1-…", message)
    message = re.sub(
        r" \((the Job tries again|tried again at TIME|it may still be on its way: waited for until TIME)\)", "", message
    )
    return re.sub(r"\bchat-[a-z0-9]{6,10}(-[a-z0-9]{5})?\b", "chat-…", message)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
