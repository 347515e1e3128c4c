"""The Jobs of a Qwen3Model, one for each step."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.desired.download import Step, model_job
from qwen3_operator.settings import Settings

Object = dict[str, Any]
SETTINGS = Settings(downloader_image="downloader:1", hub_endpoint="https://hub.example")


def job(
    step: Step = Step.DOWNLOAD, settings: Settings = SETTINGS, *, fields: Object | None = None, **more: Any
) -> Object:
    spec = Qwen3ModelSpec.model_validate({"id": "Qwen/Qwen3-8B"} | (fields or {}))
    return model_job("ns", "m", "uid", spec, settings, step, **more)


def pod(it: Object) -> Object:
    found: Object = it["spec"]["template"]["spec"]
    return found


def args(it: Object) -> list[str]:
    found: list[str] = pod(it)["containers"][0]["args"]
    return found


def env(it: Object) -> dict[str, Any]:
    return {e["name"]: e.get("value") for e in pod(it)["containers"][0]["env"]}


def test_each_step_is_another_job() -> None:
    made = [job(step) for step in Step]
    assert len({it["metadata"]["name"] for it in made}) == len(Step)
    assert all(it["metadata"]["name"].startswith("m-") and len(it["metadata"]["name"]) == 10 for it in made)


@pytest.mark.parametrize(
    ("step", "mode", "claim"),
    [
        (Step.LIST, "--list", None),
        (Step.DOWNLOAD, None, {"claimName": "m"}),
        (Step.CHECK, "--existing", {"claimName": "m", "readOnly": True}),
        (Step.REMOVE, "--remove", {"claimName": "m"}),
    ],
)
def test_what_a_step_does_and_mounts(step: Step, mode: str | None, claim: Object | None) -> None:
    it = job(step)
    assert {"--list", "--existing", "--remove"} & set(args(it)) == ({mode} if mode else set())
    assert [v["persistentVolumeClaim"] for v in pod(it)["volumes"] if v["name"] == "models"] == (
        [claim] if claim else []
    )
    assert any(a.startswith("--target=") for a in args(it)) == (step is not Step.LIST)


def test_remove_names_the_copy_before() -> None:
    it = job(Step.REMOVE, revision="v1", path="old-1")
    assert {"--revision=v1", "--target=/models/old-1"} <= set(args(it))
    assert {"--revision=master"} <= set(args(job()))


def test_a_root_of_a_volume_can_be_checked() -> None:
    it = job(Step.CHECK, fields={"storage": {"existingClaim": {"name": "filled"}}})
    assert "--target=/models" in args(it)
    assert pod(it)["volumes"][0]["persistentVolumeClaim"]["claimName"] == "filled"


def test_options() -> None:
    options = {"allowPatterns": ["*.json"], "ignorePatterns": ["a*", "b*"], "bytesPerSecond": "1M", "maxConnections": 2}
    it = job(fields={"download": options})
    assert {"--allow=*.json", "--ignore=a*,b*", "--limit-rate=1000000", "--max-workers=2"} <= set(args(it))
    assert not [a for a in args(job()) if a.split("=")[0] in ("--allow", "--ignore", "--limit-rate", "--max-workers")]


def test_proxies_and_certificates_of_the_site() -> None:
    site = SETTINGS.model_copy(
        update={"https_proxy": "http://p:3128", "no_proxy": ".svc", "ca_bundle_config_map": "trusted"}
    )
    it = job(settings=site)
    assert env(it).items() >= {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": ".svc"}.items()
    assert "HTTP_PROXY" not in env(it)
    bundles = [v["configMap"]["name"] for v in pod(it)["volumes"] if v["name"] == "ca"]
    assert bundles == ["trusted"] and env(it)["REQUESTS_CA_BUNDLE"] == "/etc/qwen3/ca/ca.crt"
    own = {"download": {"caBundleConfigMapKeyRef": {"name": "mine", "key": "k"}}}
    (volume,) = (v for v in pod(job(settings=site, fields=own))["volumes"] if v["name"] == "ca")
    assert volume["configMap"] == {"name": "mine", "items": [{"key": "k", "path": "ca.crt"}]}
    assert not {"HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"} & set(env(job()))


def test_proxies_that_want_a_password_come_from_a_secret() -> None:
    site = SETTINGS.model_copy(update={"proxy_secret": "proxy", "no_proxy": ".svc"})
    variables = {e["name"]: e for e in pod(job(settings=site))["containers"][0]["env"]}
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        reference = {"name": "proxy", "key": name, "optional": True}
        assert variables[name] == {"name": name, "valueFrom": {"secretKeyRef": reference}}
    assert variables["NO_PROXY"] == {"name": "NO_PROXY", "value": ".svc"}


TOKEN = {"tokenSecretRef": {"name": "t", "key": "k"}}


def test_a_token_goes_in_clear_only_where_the_administrator_says_so() -> None:
    clear = {"endpoint": "http://hub.lan:8080"}
    lets = SETTINGS.model_copy(update={"insecure_endpoints": ("hub.lan:8080",)})
    assert "--allow-http-token" in args(job(settings=lets, fields=clear | TOKEN))
    for settings, fields in ((SETTINGS, clear | TOKEN), (lets, clear), (lets, TOKEN)):
        assert "--allow-http-token" not in args(job(settings=settings, fields=fields))


def test_what_only_removes_waits_for_no_secret_and_no_certificates() -> None:
    site = SETTINGS.model_copy(update={"proxy_secret": "proxy", "ca_bundle_config_map": "trusted"})
    it = job(Step.REMOVE, settings=site, fields=TOKEN)
    assert set(env(it)) == {"HOME", "PYTHONUNBUFFERED"}
    assert {v["name"] for v in pod(it)["volumes"]} == {"models", "tmp"}
    assert {"MODELSCOPE_API_TOKEN", "HTTPS_PROXY"} <= set(env(job(settings=site, fields=TOKEN)))


def test_causes_make_a_new_job_and_users_do_not() -> None:
    name = job()["metadata"]["name"]
    assert job(causes=["claim", "20Gi"])["metadata"]["name"] != job(causes=["claim", "30Gi"])["metadata"]["name"]
    assert job(beside=["b", "a"])["metadata"]["name"] == name
    theirs: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    }
    it = job(beside=["b", "a"], fields={"scheduling": {"affinity": theirs}})
    affinity = pod(it)["affinity"]
    assert affinity["nodeAffinity"] == theirs["nodeAffinity"]
    (near,) = affinity["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert near["podAffinityTerm"]["labelSelector"]["matchExpressions"][0]["values"] == ["a", "b"]
    assert "affinity" not in pod(job(Step.LIST, beside=["a"]))
