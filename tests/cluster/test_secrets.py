"""Secrets: where a token may go, what is read of them, what is said of them, and who may put one before a program."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import devcluster
import pytest
from tests.chart.helm import template
from tests.cluster.api import Api
from tests.cluster.bad_inputs import CONFIG_ERROR
from tests.cluster.downloads import failed, held_back, stage
from tests.cluster.installed import Release
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import wait_until
from tests.cluster.world import World
from tests.cluster.wrappers import Q3b, Q3d, Q3m, claim, secret

Object = dict[str, Any]
USERS = ("Qwen3Deployment", "Qwen3Model", "Qwen3Batch")
MADE = (
    *("Deployment", "ReplicaSet", "Pod", "Job", "Service", "PersistentVolumeClaim", "ConfigMap"),
    *("PodDisruptionBudget", "Event"),
)
DB = {"name": "db", "key": "prod-root-password"}
ADDRESS = "http://203.0.113.9"
LETTERS = "".join(f"{word}{number}" for number, word in enumerate(("Zaunkoenig", "Eisvogel", "Wiedehopf", "Kiebitz")))
"""A token, long enough for what is cut to have a piece of it."""


@pytest.fixture(scope="session")
def reader(installs: Callable[..., Release]) -> Release:
    """The chart with `rbac.readSecrets`."""
    return installs("rbac.readSecrets=true", name="reader-qwen3-operator", namespace="reader-system")


@pytest.fixture
def reading(reader: Release, tmp_path: Path, the_operator: OperatorProcess) -> Iterator[OperatorProcess]:
    """An operator that may read Secrets, in the place of the session's."""
    if the_operator.running:
        the_operator.stop()
    it = reader.operator(tmp_path / "reading.log", log_level="DEBUG")
    it.start()
    yield it
    it.stop()
    the_operator.start()


def asked_for(cluster: devcluster.Cluster, namespace: str) -> list[str]:
    """The operator's requests for Secrets of one namespace."""
    return [
        r["requestURI"]
        for r in cluster.requests()
        if (ref := r.get("objectRef") or {}).get("resource") == "secrets"
        and ref.get("namespace") == namespace
        and r["userAgent"].startswith(("qwen3-operator", "kopf"))
    ]


def test_a_missing_token_is_reported_in_the_kubelets_words(world: World, cluster: devcluster.Cluster) -> None:
    """The operator asks for no Secret; the pod waits, and goes on by itself once the Secret is there."""
    world.api.apply(held_back(world.namespace, CONFIG_ERROR, 'secret "token" not found'))
    world.apply(Q3m().set(tokenSecretRef={"name": "token", "key": "token"}))
    stalled = world.wait_condition("weights", "Stalled", "True", kind="Qwen3Model", reason="SecretNotFound")
    assert "Secret token does not exist" in stalled["message"]
    (job,) = world.list("Job")
    world.api.delete("Stage", None, f"download-{world.namespace}")
    for pod in world.list("Pod"):
        hold = {"devcluster.qwen3.dev/waiting-reason": None}
        world.patch("Pod", pod["metadata"]["name"], {"metadata": {"annotations": hold}})
    world.wait_ready("weights", "Qwen3Model")
    assert [it["metadata"]["uid"] for it in world.list("Job")] == [job["metadata"]["uid"]], "it is the same Job"
    assert asked_for(cluster, world.namespace) == []


def test_an_operator_that_may_read_names_it_before_there_is_a_pod(
    reading: OperatorProcess, world_of_it: World, cluster: devcluster.Cluster
) -> None:
    world = world_of_it
    world.apply(Q3d().model(tokenSecretRef={"name": "token", "key": "token"}))
    reported = world.wait_condition("chat", "ModelReady", "False", reason="SecretNotFound")
    assert "Secret token does not exist" in reported["message"]
    assert not world.list("Job"), "nothing waits for it"
    world.apply(secret("token", token="good"))
    world.wait_ready("chat")
    assert asked_for(cluster, world.namespace)


def test_the_keys_that_are_there_are_never_named(reading: OperatorProcess, world_of_it: World) -> None:
    """Whoever may read the status may not read Secrets."""
    world = world_of_it
    world.apply(secret("db", **{"prod-root-password": "p", "replica-password": "r"}))
    world.apply(Q3d().set(auth=_auth("db", "x")), Q3m().set(tokenSecretRef={"name": "db", "key": "x"}))
    reported = world.wait_condition("chat", "Accepted", "False", reason="SecretKeyNotFound")
    assert reported["message"].startswith("spec.auth.apiKeySecretRef: Secret db has no key x: add it")
    world.wait_condition("weights", "Downloaded", "False", kind="Qwen3Model", reason="SecretKeyNotFound")
    everything = [world.must("Qwen3Deployment", "chat"), world.must("Qwen3Model", "weights"), world.list("Event")]
    assert "password" not in json.dumps(everything) and "password" not in reading.log.read_text()


def test_a_changed_token_is_tried_at_once_by_an_operator_that_may_read(
    reading: OperatorProcess, world_of_it: World
) -> None:
    world = world_of_it
    world.api.apply(stage(world.namespace, failed("Unauthorized", "the token is not accepted", 11)))
    world.apply(secret("token", token="old"), Q3m().set(tokenSecretRef={"name": "token", "key": "token"}))
    world.wait_condition("weights", "Stalled", "True", kind="Qwen3Model", reason="Unauthorized")
    (before,) = world.list("Job")
    world.apply(secret("token", token="new"))
    names = world.wait(lambda: _other(world, before["metadata"]["name"]), "another Job", within=14)
    assert names


def test_a_changed_api_key_makes_new_servers_where_the_operator_may_read(
    reading: OperatorProcess, world_of_it: World
) -> None:
    world = world_of_it
    world.apply(secret("clients", key="old"), Q3d().set(auth=_auth("clients", "key")))
    world.wait_ready("chat")
    before, args = pods(world), world.container("chat")["args"]
    world.apply(secret("clients", key="old") | {"metadata": {"name": "clients", "labels": {"a": "b"}}})
    world.set_spec("chat", service={"port": 81})
    world.wait(lambda: world.must("Service", "chat")["spec"]["ports"][0]["port"] == 81, "it was reconciled")
    assert pods(world) == before, "a label is no change of the key"
    world.apply(secret("clients", key="new"))
    world.set_spec("chat", service={"port": 82})  # it would be read within a minute: sooner where it is reconciled
    world.wait(lambda: not before & pods(world), "its servers are replaced", within=30)
    world.wait_ready("chat")
    assert world.container("chat")["args"] == args


def test_a_token_is_printed_nowhere(reading: OperatorProcess, world_of_it: World) -> None:
    """By an operator that reads it, at the most talkative level, while what uses it works, changes, fails and is
    refused: not in its log or metrics, nor in any object but the Secret and what its user writes."""
    world = world_of_it
    key = {"name": "both", "key": "token"}
    source = {"id": "Qwen/Qwen3-0.6B", "tokenSecretRef": key}
    variable = {"name": "A", "valueFrom": {"secretKeyRef": key}}
    refused = Q3d("refused").set(model=source).engine(extraArgs=["--api-key", LETTERS])
    world.apply(secret("both", token=LETTERS), claim("answers"))
    world.apply(
        Q3d().set(model=source, auth={"apiKeySecretRef": key}).engine(env=[variable]), refused, Q3b().set(model=source)
    )
    world.wait_condition("refused", "Accepted", "False")
    world.wait_ready("chat")
    before = pods(world)
    world.apply(secret("both", token=LETTERS[::-1]))
    world.set_spec("chat", service={"port": 81})
    world.wait(lambda: not before & pods(world), "its servers are replaced", within=30)
    world.api.apply(stage(world.namespace, failed("Unauthorized", "the token is not accepted", 11)))
    world.apply(Q3m().set(tokenSecretRef=key, revision="other"))
    world.wait_condition("weights", "Stalled", "True", kind="Qwen3Model", reason="Unauthorized")
    world.delete("Secret", "both")
    world.set_spec("chat", service={"port": 82})
    world.wait_condition("chat", "Accepted", "False", reason="SecretNotFound")
    shown = {
        f"{kind} {obj['metadata']['name']}": json.dumps(obj | ({"spec": None} if kind in USERS else {}))
        for kind in (*USERS, *MADE)
        for obj in world.list(kind)
    }
    assert any(name.startswith("Event ") for name in shown) and "Deployment chat" in shown
    shown |= {"log": reading.log.read_text(), "/metrics": reading.http("/metrics")[1]}
    assert "both" in shown["Deployment chat"] and "qwen3_operator" in shown["/metrics"] and len(shown["log"]) > 1000
    found = {where for where, text in shown.items() for piece in pieces(LETTERS) if piece in text}
    assert not found


def test_no_token_is_sent_in_clear_whichever_way_it_comes(world: World) -> None:
    world.apply(secret("db", **{"prod-root-password": "p"}), claim("answers"))
    source = {"id": "Qwen/Qwen3-0.6B", "endpoint": ADDRESS, "tokenSecretRef": DB}
    world.apply(Q3m().set(**source), Q3d().set(model=source), Q3b().set(model=source))
    for kind, name, field in (
        ("Qwen3Model", "weights", "spec.endpoint"),
        ("Qwen3Deployment", "chat", "spec.model.endpoint"),
        ("Qwen3Batch", "nightly", "spec.model.endpoint"),
    ):
        reported = world.wait_condition(name, "Accepted", "False", kind=kind, reason="InsecureEndpoint")
        assert reported["message"].startswith(f"{field}: ") and ADDRESS in reported["message"]
        world.wait_condition(name, "Stalled", "True", kind=kind, reason="InsecureEndpoint")
    assert not world.list("Job")
    world.apply(Q3m().set(**source | {"endpoint": "https://hub.example"}))
    world.wait_ready("weights", "Qwen3Model")
    args = world.list("Job")[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--allow-http-token" not in args


def test_the_policy_leaves_pods_and_secrets_to_those_who_have_them(
    cluster: devcluster.Cluster, api: Api, make_world: Any
) -> None:
    """The chart's admission policy on a real API server: dry runs of one who may write our kinds, and of an editor."""
    world: World = make_world("policy")
    policy = [m for m in template("policy.podAuthority.enabled=true") if m["kind"].startswith("ValidatingAdmission")]
    names = {"tenant": "qwen3-tenant", "editor": "edit"}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "qwen3-tenant"},
        "rules": [{"apiGroups": ["serving.qwen3.dev"], "resources": ["*"], "verbs": ["*"]}],
    }
    cluster.apply([role, *policy])
    for user, held in names.items():
        for number, granted in enumerate({held, "qwen3-tenant"}):
            cluster.kubectl(
                *("create", "rolebinding", f"{user}-{number}", f"--clusterrole={granted}", f"--user={user}"),
                *("-n", world.namespace),
            )
    image = Q3d("image", world.namespace).engine(image="busybox:1", version="0.33.0")
    patched = Q3d("patched", world.namespace).set(podTemplatePatch={"spec": {"hostPID": True}})
    flags = Q3d("flags", world.namespace).engine(extraArgs=["--trust-remote-code"])
    sent = Q3m("sent", world.namespace).set(endpoint="https://evil.example", tokenSecretRef=DB)
    adapter = Q3d("adapter", world.namespace).model(endpoint="https://evil.example")
    adapter.engine(loraAdapters=[{"name": "a", "id": "a/b", "tokenSecretRef": DB}])
    job = Q3m("job", world.namespace).set(download={"pod": {"fsGroup": 1}})
    reference = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "k"}}}
    shown = Q3d("shown", world.namespace).engine(env=[reference])
    plain = Q3d("plain", world.namespace).model(tokenSecretRef=DB).engine(env=[{"name": "A", "value": "b"}])

    def answer(user: str, manifest: Object) -> str:
        command = ("create", f"--as={user}", "--dry-run=server", "-f", "-")
        try:
            return cluster.kubectl(*command, input=json.dumps(manifest))
        except devcluster.DevclusterError as error:
            return str(error)

    try:
        wait_until(lambda: "those who may create pods" in answer("tenant", patched.manifest), within=30)
        for it, words in (
            (image, "create pods"),
            (flags, "create pods"),
            (job, "create pods"),
            (sent, "read Secrets"),
            (adapter, "read Secrets"),
            (shown, "read Secrets"),
        ):
            assert f"those who may {words}" in answer("tenant", it.manifest)
        assert "created" in answer("tenant", plain.manifest)
        for it in (image, patched, flags, job, sent, adapter, shown, plain):
            assert "created" in answer("editor", it.manifest)
    finally:
        for manifest in policy:
            cluster.kubectl("delete", manifest["kind"], manifest["metadata"]["name"])
        cluster.kubectl("delete", "clusterrole", "qwen3-tenant")
        api.delete("Namespace", None, world.namespace)


@pytest.fixture
def world_of_it(reading: OperatorProcess, api: Api, make_world: Any) -> Iterator[World]:
    """A namespace for the operator that may read Secrets."""
    it: World = make_world("reading")
    yield it
    for kind in USERS:
        for obj in it.list(kind):
            it.delete(kind, obj["metadata"]["name"])
    api.delete("Stage", None, f"download-{it.namespace}")
    api.delete("Namespace", None, it.namespace)


def _auth(name: str, key: str) -> Object:
    return {"apiKeySecretRef": {"name": name, "key": key}}


def _other(world: World, name: str) -> list[str]:
    return [job["metadata"]["name"] for job in world.list("Job") if job["metadata"]["name"] != name]


def pods(world: World) -> set[str]:
    """uids of the servers' pods."""
    return {pod["metadata"]["uid"] for pod in world.list("Pod") if pod["metadata"]["name"].startswith("chat-")}


def pieces(token: str) -> set[str]:
    """A few letters each of the token, of the one that is its reverse, and of both as a Secret has them."""
    texts = [text for it in (token, token[::-1]) for text in (it, base64.b64encode(it.encode()).decode())]
    return {text[start : start + 8] for text in texts for start in range(0, len(text) - 7, 4)}
