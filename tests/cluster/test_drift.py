"""What somebody does to the children by hand: what is ours comes back, what is theirs stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d

Object = dict[str, Any]

LABEL = "serving.qwen3.dev~1deployment"
MANAGED_BY = "app.kubernetes.io~1managed-by"
TEMPLATE = "/spec/template/spec"
VLLM = f"{TEMPLATE}/containers/0"


def _replace(path: str, value: Any) -> Object:
    return {"op": "replace", "path": path, "value": value}


EDITS: dict[str, tuple[str, list[Object]]] = {
    "image": ("Deployment", [{"op": "replace", "path": f"{VLLM}/image", "value": "somebody/else:1"}]),
    "container port": ("Deployment", [{"op": "replace", "path": f"{VLLM}/ports/0/containerPort", "value": 9000}]),
    "one argument more": ("Deployment", [{"op": "add", "path": f"{VLLM}/args/-", "value": "--enforce-eager"}]),
    "arguments gone": ("Deployment", [{"op": "remove", "path": f"{VLLM}/args"}]),
    "command": ("Deployment", [{"op": "replace", "path": f"{VLLM}/command", "value": ["sleep"]}]),
    "value of a variable": ("Deployment", [{"op": "replace", "path": f"{VLLM}/env/0/value", "value": "/root"}]),
    "a variable gone": ("Deployment", [{"op": "remove", "path": f"{VLLM}/env/0"}]),
    "GPUs": ("Deployment", [{"op": "replace", "path": f"{VLLM}/resources/limits/nvidia.com~1gpu", "value": "2"},
                            {"op": "replace", "path": f"{VLLM}/resources/requests/nvidia.com~1gpu", "value": "2"}]),
    "readiness probe gone": ("Deployment", [{"op": "remove", "path": f"{VLLM}/readinessProbe"}]),
    "probe path": ("Deployment", [{"op": "replace", "path": f"{VLLM}/readinessProbe/httpGet/path", "value": "/"}]),
    "weights writable": ("Deployment", [{"op": "remove", "path": f"{VLLM}/volumeMounts/0/readOnly"}]),
    "node selector": ("Deployment", [{"op": "add", "path": f"{TEMPLATE}/nodeSelector/zone", "value": "b"}]),
    "grace period": ("Deployment", [_replace(f"{TEMPLATE}/terminationGracePeriodSeconds", 11)]),
    "service account token": ("Deployment", [_replace(f"{TEMPLATE}/automountServiceAccountToken", True)]),
    "pod security": ("Deployment", [_replace(f"{TEMPLATE}/securityContext/runAsNonRoot", False)]),
    "pod label": ("Deployment", [{"op": "remove", "path": f"/spec/template/metadata/labels/{MANAGED_BY}"}]),
    "replicas": ("Deployment", [{"op": "replace", "path": "/spec/replicas", "value": 2}]),
    "replicas to 0": ("Deployment", [{"op": "replace", "path": "/spec/replicas", "value": 0}]),
    "strategy": ("Deployment", [{"op": "replace", "path": "/spec/strategy", "value": {"type": "Recreate"}}]),
    "label changed": ("Deployment", [{"op": "replace", "path": f"/metadata/labels/{LABEL}", "value": "other"}]),
    "managed-by label gone": ("Deployment", [{"op": "remove", "path": f"/metadata/labels/{MANAGED_BY}"}]),
    "all labels gone": ("Deployment", [{"op": "remove", "path": "/metadata/labels"}]),
    "Service: selector": ("Service", [{"op": "replace", "path": f"/spec/selector/{LABEL}", "value": "other"}]),
    "Service: one selector more": ("Service", [{"op": "add", "path": "/spec/selector/version", "value": "1"}]),
    "Service: port": ("Service", [{"op": "replace", "path": "/spec/ports/0/port", "value": 9000}]),
    "Service: target port": ("Service", [{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 9000}]),
    "Service: type": ("Service", [{"op": "replace", "path": "/spec/type", "value": "NodePort"}]),
    "Service: labels gone": ("Service", [{"op": "remove", "path": "/metadata/labels"}]),
}  # fmt: skip


def _owned(child: Object) -> Object:
    """What the operator says of a child; what the API server adds to a spec stands in it as well, and is the same."""
    meta = child["metadata"]
    spec = {key: value for key, value in child["spec"].items() if key not in ("clusterIP", "clusterIPs")}
    for port in spec.get("ports", []):
        port.pop("nodePort", None)
    return {"labels": meta.get("labels"), "ownerReferences": meta.get("ownerReferences"), "spec": spec}


@pytest.fixture(scope="module")
def chat(serving: World) -> Iterator[World]:
    """A Ready Qwen3Deployment with one server."""
    serving.apply(Q3d().scheduling(nodeSelector={"kubernetes.io/os": "linux"}))
    serving.wait_ready("chat")
    yield serving


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_undone(chat: World, edit: str) -> None:
    kind, change = EDITS[edit]
    # At rest: only the edit's own event brings the next reconcile.
    chat.wait_condition("chat", "Reconciling", "False")
    before = _owned(chat.must(kind, "chat"))
    edited = chat.patch(kind, "chat", change)
    assert _owned(edited) != before, "the edit changed nothing"
    try:
        chat.wait(lambda: _owned(chat.must(kind, "chat")) == before, f"{edit} of the {kind} is as before")
    except AssertionError:
        _make_afresh(chat, kind, edited)  # for the next test
        raise


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_a_deleted_child_is_made_again(chat: World, kind: str) -> None:
    before = chat.must(kind, "chat")
    again = _make_afresh(chat, kind, before)
    assert _owned(again) == _owned(before)
    chat.wait_ready("chat")


def _make_afresh(chat: World, kind: str, before: Object) -> Object:
    """Delete the child; returns the next one."""
    chat.delete(kind, "chat")
    chat.wait(lambda: chat.must(kind, "chat")["metadata"]["uid"] != before["metadata"]["uid"], f"a new {kind}")
    return chat.must(kind, "chat")


ADDITIONS: dict[str, tuple[str, Callable[[], Object], Callable[[Object], Any]]] = {
    "annotation": (
        "Deployment",
        lambda: {"metadata": {"annotations": {"team": "a"}}},
        lambda d: d["metadata"]["annotations"]["team"] == "a",
    ),
    "label": (
        "Deployment",
        lambda: {"metadata": {"labels": {"team": "a"}}},
        lambda d: d["metadata"]["labels"]["team"] == "a",
    ),
    "pod annotation (kubectl rollout restart)": (
        "Deployment",
        lambda: {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}},
        lambda d: d["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] == "now",
    ),
    "variable": (
        "Deployment",
        lambda: _template({"containers": [{"name": "vllm", "env": [{"name": "EXTRA", "value": "1"}]}]}),
        lambda d: {"name": "EXTRA", "value": "1"} in d["spec"]["template"]["spec"]["containers"][0]["env"],
    ),
    "sidecar": (
        "Deployment",
        lambda: _template({"containers": [{"name": "proxy", "image": "envoy:1"}]}),
        lambda d: [c["name"] for c in d["spec"]["template"]["spec"]["containers"]] == ["vllm", "proxy"],
    ),
    "Service: annotation": (
        "Service",
        lambda: {"metadata": {"annotations": {"team": "a"}}},
        lambda s: s["metadata"]["annotations"]["team"] == "a",
    ),
    "Service: session affinity": (
        "Service",
        lambda: {"spec": {"sessionAffinity": "ClientIP"}},
        lambda s: s["spec"]["sessionAffinity"] == "ClientIP",
    ),
    "Service: another port": (
        "Service",
        lambda: {"spec": {"ports": [{"name": "metrics", "port": 9090, "protocol": "TCP"}]}},
        lambda s: len(s["spec"]["ports"]) == 2,
    ),
}


def _template(spec: Object) -> Object:
    return {"spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize("addition", ADDITIONS)
def test_what_others_own_stays(chat: World, addition: str) -> None:
    """Another manager applies a field of its own; the operator then has reason to write, and does."""
    kind, fields, there = ADDITIONS[addition]
    version = {"Deployment": "apps/v1", "Service": "v1"}[kind]
    theirs = {"apiVersion": version, "kind": kind, "metadata": {"name": "chat", "namespace": chat.namespace}}
    given = fields()
    chat.api.apply(
        theirs | given | {"metadata": theirs["metadata"] | given.get("metadata", {})}, manager="somebody", force=False
    )
    # The operator's own next write, of both children, leaves it alone.
    argument = f"--seed={list(ADDITIONS).index(addition) + 1}"
    port = 8100 + list(ADDITIONS).index(addition)
    chat.set_spec("chat", engine={"extraArgs": [argument]}, service={"port": port})
    chat.wait(lambda: argument in chat.container("chat")["args"], "the operator's next write")
    chat.wait(lambda: port in [p["port"] for p in chat.must("Service", "chat")["spec"]["ports"]], "the same")
    assert there(chat.must(kind, "chat"))
    stays(lambda: there(chat.must(kind, "chat")), seconds=0.5)
    chat.api.apply(theirs, manager="somebody")  # takes it back


def test_a_port_of_somebody_stays_where_ours_was_edited(chat: World) -> None:
    """What the edit leaves in the managed fields makes the API server refuse our next port at first."""
    port = chat.must("Service", "chat")["spec"]["ports"][0]["port"]
    theirs = {"name": "metrics", "port": 9091, "protocol": "TCP"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": chat.namespace}}

    def ports() -> list[tuple[str, int]]:
        return [(p["name"], p["port"]) for p in chat.must("Service", "chat")["spec"]["ports"]]

    chat.patch("Service", "chat", EDITS["Service: port"][1])
    chat.wait(lambda: ports() == [("http", port)], "the edit is undone")
    chat.api.apply(service | {"spec": {"ports": [theirs]}}, manager="somebody", force=False)
    for number in (8201, 8202):
        chat.set_spec("chat", service={"port": number})
        chat.wait(lambda want=number: ("http", want) in ports(), "the operator's next write")  # type: ignore[misc]
        assert sorted(ports()) == [("http", number), ("metrics", 9091)]
    chat.api.apply(service, manager="somebody")  # takes it back


def test_the_claim_keeps_what_is_ours(chat: World) -> None:
    (claim,) = chat.list("PersistentVolumeClaim")
    name, labels = claim["metadata"]["name"], claim["metadata"]["labels"]
    part = "app.kubernetes.io~1part-of"  # the others are the proof that it is ours: see test_ownership
    chat.patch("PersistentVolumeClaim", name, [{"op": "remove", "path": f"/metadata/labels/{part}"}])
    chat.wait(lambda: chat.must("PersistentVolumeClaim", name)["metadata"].get("labels") == labels, "its labels")


def test_a_claim_that_was_grown_by_hand_stays_grown(chat: World) -> None:
    chat.wait_ready("chat")
    (claim,) = chat.list("PersistentVolumeClaim")
    name = claim["metadata"]["name"]
    chat.patch("PersistentVolumeClaim", name, {"spec": {"resources": {"requests": {"storage": "77Gi"}}}})

    def size() -> Any:
        return chat.must("PersistentVolumeClaim", name)["status"]["capacity"]["storage"]

    chat.wait(lambda: size() == "77Gi", "the volume grew")
    stays(lambda: size() == "77Gi" and chat.is_ready("chat"), seconds=1)
    model = chat.list("Qwen3Model")[0]["metadata"]["name"]
    chat.wait(lambda: chat.must("Qwen3Model", model)["status"]["size"] == "77Gi", "the status follows")


def test_the_shared_model_is_ours(chat: World) -> None:
    """Its spec follows from the Qwen3Deployment's."""
    name = chat.list("Qwen3Model")[0]["metadata"]["name"]
    chat.patch("Qwen3Model", name, {"spec": {"endpoint": "https://mirror.example"}})
    chat.patch("Qwen3Model", name, {"spec": {"revision": "other"}})
    chat.wait(lambda: chat.must("Qwen3Model", name)["spec"]["revision"] == "master", "the revision")
    chat.wait_ready("chat")


def test_what_a_starting_server_has_to_mount_comes_back(world: World) -> None:
    """The ConfigMap with the middleware is watched by nobody: it is missed when a server waits for it."""
    world.apply(Q3d().pod(start_delay="20s"))
    selector = "serving.qwen3.dev/deployment=chat"
    world.wait(lambda: world.list("Pod", labelSelector=selector), "a server is starting", within=60)
    (mounted,) = world.list("ConfigMap", labelSelector=selector)
    world.api.delete("ConfigMap", world.namespace, mounted["metadata"]["name"])
    world.wait(lambda: world.list("ConfigMap", labelSelector=selector), "it is back")
    assert world.list("ConfigMap", labelSelector=selector)[0]["data"] == mounted["data"]
