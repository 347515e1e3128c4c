"""A Secret that servers read at their start: one that changes makes new servers, where the operator may read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.monitoring.operator_at_work import NAMESPACE, SERVED
from tests.unit.reconcile.served import Served

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import DEPLOYMENTS, SECRETS, Kind
from qwen3_operator.desired.made_from import ANNOTATION
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile.deployment import reconcile_deployment
from qwen3_operator.reconcile.key import Key

AUTH = {"auth": {"apiKeySecretRef": {"name": "clients", "key": "api-key"}}}
TEAMS = {"auth": {"keys": {"secretRef": {"name": "clients"}}}}


class Keyed(Served):
    """One Qwen3Deployment, and a Secret."""

    def secret(self, *, uid: str = "s", labels: dict[str, str] | None = None, **data: str) -> None:
        """Have the Secret with this content; `_` in a key stands for '-'."""
        meta = {"namespace": NAMESPACE, "name": "clients", "uid": uid, "labels": labels or {}}
        self.cluster.put(SECRETS, {"metadata": meta, "data": {k.replace("_", "-"): v for k, v in data.items()}})

    async def reads(self, allowed: bool) -> None:
        """Another release of the operator, which may read Secrets or not, looks at what is there."""
        self.start(read_secrets=allowed)
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)

    @property
    def template(self) -> str:
        return json.dumps(self.server["spec"]["template"], sort_keys=True)


@pytest.fixture
def world() -> Keyed:
    it = Keyed(read_secrets=True)
    it.secret(api_key="b2xk")
    return it


async def test_a_changed_key_makes_new_servers_of_the_same_values(world: Keyed) -> None:
    await world.served(**AUTH)
    before = world.server["spec"]["template"]
    writes = len(world.cluster.writes)
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert len(world.cluster.writes) == writes, "at rest nothing is written"
    world.secret(api_key="bmV3")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    after = world.server["spec"]["template"]
    assert after["metadata"] != before["metadata"] and after["spec"] == before["spec"]
    await world.ready()
    assert world.server["spec"]["template"] == after, "once"
    world.secret(api_key="b2xk")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    assert world.server["spec"]["template"] != after, "the way back is a change too"


async def test_what_else_changes_about_the_secret_makes_none(world: Keyed) -> None:
    """Helm and GitOps tools label Secrets anew; other keys are others' matter."""
    await world.served(**AUTH)
    before = world.template
    world.secret(labels={"helm.sh/chart": "clients-2"}, api_key="b2xk", other="eA==")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.template == before


async def test_a_variable_of_the_user_counts_and_so_does_one_of_the_patch(world: Keyed) -> None:
    reference = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "clients", "key": "api-key"}}}
    patch = json.dumps({"spec": {"containers": [{"name": "vllm", "envFrom": [{"secretRef": {"name": "more"}}]}]}})
    world.cluster.put(SECRETS, {"metadata": {"namespace": NAMESPACE, "name": "more"}, "data": {"x": "eA=="}})
    await world.served(engine={"env": [reference]}, podTemplatePatch=patch)
    seen = [world.template]
    world.secret(api_key="bmV3")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    seen.append(world.template)
    await world.ready()
    world.changed(SECRETS, "more")["data"] = {"x": "eQ=="}
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    seen.append(world.template)
    assert len(set(seen)) == 3


async def test_keys_of_teams_reach_servers_that_run(world: Keyed) -> None:
    await world.served(**TEAMS)
    before, annotation = world.template, world.server["metadata"]["annotations"][ANNOTATION]
    world.secret(api_key="bmV3", team_b="eA==")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.template == before and world.server["metadata"]["annotations"][ANNOTATION] == annotation


@pytest.mark.parametrize("allowed", [False, True])
async def test_an_operator_that_begins_to_read_restarts_nothing(allowed: bool) -> None:
    """What was made by one that read nothing has whatever was there then; only the next change makes new servers."""
    world = Keyed()
    world.secret(api_key="b2xk")
    await world.served(**AUTH)
    before = world.template
    await world.reads(allowed)
    assert world.template == before
    world.secret(api_key="bmV3")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert (world.template != before) is allowed


async def test_one_that_reads_no_more_restarts_nothing(world: Keyed) -> None:
    await world.served(**AUTH)
    world.secret(api_key="bmV3")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED)
    await world.ready()
    before = world.template
    for allowed in (False, True):
        await world.reads(allowed)
        assert world.template == before, allowed


async def test_a_secret_that_goes_and_comes_back_as_it_was_restarts_nothing(world: Keyed) -> None:
    await world.served(**AUTH)
    before = world.template
    del world.cluster.objects[SECRETS.kind, NAMESPACE, "clients"]
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.status(QWEN3_DEPLOYMENTS, SERVED)["Accepted"][1] == "SecretNotFound"
    assert world.template == before
    world.secret(api_key="b2xk")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.template == before


async def test_servers_that_are_replaced_are_not_replaced_again(world: Keyed) -> None:
    """The spec may be what fails, and is gone back from; the Secret's turn comes after that."""
    await world.served(**AUTH, replicas=2)
    world.changed(DEPLOYMENTS, SERVED)["status"]["updatedReplicas"] = 1
    before = world.template
    world.secret(api_key="bmV3")
    await world.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
    assert world.template == before
    await world.ready()
    assert world.template != before


async def test_a_right_that_is_missing_is_as_not_asked_for(world: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting may be on in a cluster that keeps the Secrets of some namespaces to itself."""
    get = world.cluster.get

    async def forbidden(kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        if kind == SECRETS:
            raise ApiError(403, "Forbidden", 'secrets "clients" is forbidden')
        return await get(kind, namespace, name)

    monkeypatch.setattr(world.cluster, "get", forbidden)
    await world.served(**AUTH)
    status = world.status(QWEN3_DEPLOYMENTS, SERVED)
    assert status["Ready"][0] == "True" and "forbidden" not in json.dumps(status)


async def test_it_is_read_again_within_a_minute_and_only_where_that_is_allowed(world: Keyed) -> None:
    async def requeue(of: Keyed) -> object:
        of.cluster.show(of.operator._store)
        return await reconcile_deployment(of.operator._context, Key(QWEN3_DEPLOYMENTS.kind, NAMESPACE, SERVED))

    await world.served(**AUTH)
    assert await requeue(world) == 60
    blind = Keyed()
    blind.secret(api_key="b2xk")
    await blind.served(**AUTH)
    assert await requeue(blind) is None
