"""Every constraint of the CRDs on the real API server: what passes, what is refused, and in which words."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.cluster.api import Api, Refused
from tests.cluster.constraint_tables.batch import BATCH, BATCH_CASES, BATCH_STATUS
from tests.cluster.constraint_tables.deployment import DEPLOYMENT, DEPLOYMENT_CASES, DEPLOYMENT_STATUS
from tests.cluster.constraint_tables.model import MODEL, MODEL_CASES, MODEL_STATUS
from tests.cluster.constraints import ABSENT, Case, Change, changed, in_schema, kubectl_path

Object = dict[str, Any]
TABLES = {"Qwen3Deployment": DEPLOYMENT_CASES, "Qwen3Model": MODEL_CASES, "Qwen3Batch": BATCH_CASES}
FULL = {
    "Qwen3Deployment": (DEPLOYMENT, DEPLOYMENT_STATUS),
    "Qwen3Model": (MODEL, MODEL_STATUS),
    "Qwen3Batch": (BATCH, BATCH_STATUS),
}
NAMESPACE = "constraints"


def _all_cases() -> Iterator[Any]:
    for kind, cases in TABLES.items():
        seen: Counter[str] = Counter()
        for case in cases:
            name = f"{kind}:{case.path}:{case.keyword[:60]}"
            seen[name] += 1
            yield pytest.param(kind, case, id=name if seen[name] == 1 else f"{name}#{seen[name]}")


@pytest.fixture(scope="module")
def targets(api: Api) -> Iterator[None]:
    """A namespace with an object of each kind, for the cases of its status. Nothing runs: all are suspended."""
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for full, _ in FULL.values():
        api.create(changed(full, {"metadata.name": "target", "metadata.namespace": NAMESPACE}))
    yield
    for kind in FULL:
        api.delete(kind, NAMESPACE, "target")
    api.delete("Namespace", None, NAMESPACE)


@pytest.fixture
def send(api: Api, targets: None, request: pytest.FixtureRequest) -> Iterator[Callable[[str, Case, Change], None]]:
    """Send one change to the API server, which keeps nothing of it. Raises Refused."""
    made: list[tuple[str, str]] = []

    def it(kind: str, case: Case, change: Change) -> None:
        spec, status = FULL[kind]
        if case.path.startswith("status"):
            wanted = changed({"status": status}, change)
            api.patch(kind, NAMESPACE, "target", _replacing(wanted), subresource="status", dry_run=True)
        elif case.before is not None:
            before = changed(spec, case.before | {"metadata.namespace": NAMESPACE, "metadata.name": "before"})
            api.create(before)
            made.append((kind, "before"))
            api.patch(kind, NAMESPACE, "before", _replacing(_after(before, change)), dry_run=True)
        else:
            api.create(changed(spec, {"metadata.namespace": NAMESPACE} | change), dry_run=True)

    yield it
    for kind, name in made:
        api.delete(kind, NAMESPACE, name)


def _after(before: Object, change: Change) -> Object:
    return {"spec": changed(before, change)["spec"]}


def _replacing(parts: Object) -> list[Object]:
    """A JSON patch that puts whole parts in the place of what is there."""
    return [{"op": "add", "path": f"/{name}", "value": value} for name, value in parts.items()]


OLDER_WORDS = re.compile(r"may not be longer than ([0-9]+)")
"""Those of Kubernetes 1.31 for a text that is too long."""


@pytest.mark.parametrize(("kind", "case"), list(_all_cases()))
def test_accepted(send: Callable[[str, Case, Change], None], kind: str, case: Case) -> None:
    send(kind, case, case.accept)


@pytest.mark.parametrize(("kind", "case"), list(_all_cases()))
def test_refused_in_words(send: Callable[[str, Case, Change], None], kind: str, case: Case) -> None:
    with pytest.raises(Refused) as refused:
        send(kind, case, case.reject)
    assert refused.value.status == 422
    assert case.words in OLDER_WORDS.sub(r"may not be more than \1 bytes", str(refused.value))
    assert kubectl_path(case.path) in str(refused.value)


@pytest.mark.parametrize("kind", TABLES)
def test_every_constraint_has_a_case(crds: list[Object], kind: str) -> None:
    """A new constraint needs a row in constraint_tables.py; a row of a constraint that is gone must go."""
    crd = next(c for c in crds if c["spec"]["names"]["kind"] == kind)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    there, tested = set(in_schema(schema)), {case.constraint for case in TABLES[kind]}
    assert not there - tested, "without a case:\n" + "\n".join(
        f"  {c.path}: {c.keyword}" for c in sorted(there - tested)
    )
    assert not tested - there, "gone from the CRD:\n" + "\n".join(
        f"  {c.path}: {c.keyword}" for c in sorted(tested - there)
    )


@pytest.mark.parametrize("kind", TABLES)
def test_every_string_list_and_map_is_bounded(crds: list[Object], kind: str) -> None:
    """Unbounded ones make CEL rules costly and let an object grow beyond what etcd takes."""
    crd = next(c for c in crds if c["spec"]["names"]["kind"] == kind)

    def unbounded(schema: Object, path: str) -> Iterator[str]:
        bound = {"string": "maxLength", "array": "maxItems", "integer": "maximum"}.get(schema.get("type", ""))
        if "additionalProperties" in schema:
            bound = "maxProperties"
        if bound and bound not in schema and "enum" not in schema:
            yield f"{path} has no {bound}"
        for name, below in schema.get("properties", {}).items():
            yield from unbounded(below, f"{path}.{name}")
        for part in ("items", "additionalProperties"):
            if isinstance(schema.get(part), dict):
                yield from unbounded(schema[part], f"{path}[]")

    assert not list(unbounded(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], kind))


@pytest.mark.parametrize(
    ("kind", "path"), [("Qwen3Deployment", "spec.engine.maxModelLenght"), ("Qwen3Model", "spec.storage.sise")]
)
def test_unknown_field_is_refused(api: Api, targets: None, kind: str, path: str) -> None:
    with pytest.raises(Refused, match=f'unknown field "{path}"'):
        api.create(changed(FULL[kind][0], {"metadata.namespace": NAMESPACE, path: 1}), dry_run=True)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("spec.engine.maxModelLen", "8192", "must be of type integer"),
        ("spec.engine.maxModelLen", 8192.5, "must be of type integer"),
        ("spec.suspend", "yes", "must be of type boolean"),
        ("spec.engine.env.0.value", 1, "must be of type string"),
    ],
)
def test_wrong_type_is_refused(api: Api, targets: None, path: str, value: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        api.create(changed(DEPLOYMENT, {"metadata.namespace": NAMESPACE, path: value}), dry_run=True)


def test_the_smallest_objects_are_accepted(api: Api, targets: None) -> None:
    for kind, spec in (
        ("Qwen3Deployment", {"model": {"id": "Qwen/Qwen3-8B"}}),
        ("Qwen3Model", {"id": "Qwen/Qwen3-8B"}),
        (
            "Qwen3Batch",
            {
                "deploymentRef": {"name": "chat"},
                "input": {"prompts": ["hello"]},
                "output": {"claim": {"name": "answers", "path": "a.jsonl"}},
            },
        ),
    ):
        smallest = {"metadata": {"name": "small", "namespace": NAMESPACE}, "spec": spec}
        api.create(FULL[kind][0] | smallest, dry_run=True)


def test_cases_are_different(crds: list[Object]) -> None:
    """A reject case that changes nothing, or the same as its accept case, would be a mistake in the table."""
    for cases in TABLES.values():
        for case in cases:
            assert case.reject, case
            accept, reject = (
                json.dumps(c, sort_keys=True, default=lambda v: "ABSENT" if v is ABSENT else str(v))
                for c in (case.accept, case.reject)
            )
            assert accept != reject, case
