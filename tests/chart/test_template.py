"""What the chart renders, and which values it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.helm import CHART, HelmError, helm, template

from qwen3_operator.settings import Settings

pytestmark = pytest.mark.cluster  # helm is one of its tools

CRDS = Path(__file__).parents[2] / "crds"


def one(manifests: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    found = [m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"])]
    assert len(found) == 1, [m["metadata"]["name"] for m in found]
    return found[0]


def container(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    found: dict[str, Any] = pod["containers"][0]
    return found


def environment(manifests: list[dict[str, Any]]) -> dict[str, str]:
    return {e["name"]: e["value"] for e in container(manifests)["env"] if "value" in e}


def test_lint() -> None:
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART)


def test_crds_are_those_of_the_repository_and_survive_an_uninstall() -> None:
    manifests = {m["metadata"]["name"]: m for m in template() if m["kind"] == "CustomResourceDefinition"}
    expected = [yaml.safe_load(path.read_text()) for path in CRDS.glob("*.yaml")]
    assert len(manifests) == len(expected)
    for crd in expected:
        rendered = manifests[crd["metadata"]["name"]]
        assert rendered["spec"] == crd["spec"]
        assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert not [m for m in template("crds.install=false") if m["kind"] == "CustomResourceDefinition"]


def test_the_operator_takes_the_settings_that_the_chart_gives() -> None:
    manifests = template(
        "settings.engineImage=registry.example/vllm:v0.33.0",
        "settings.engineVersion=0.33.0,settings.engineHost=::,settings.podIds=platform",
        "settings.hubEndpoint=https://hub.example",
        "settings.clusterDomain=k8s.example",
        "settings.httpsProxy=http://proxy.example:3128",
        "settings.noProxy=.svc",
        "settings.caBundleConfigMap=trusted",
        "settings.workers=4",
        "settings.resyncSeconds=60",
        "settings.logLevel=DEBUG",
        "watchNamespaces={a,b}",
        "imagePullSecrets[0].name=one,imagePullSecrets[1].name=two",
        "downloaderImage.repository=registry.example/downloader,downloaderImage.tag=v7",
    )
    settings = Settings.from_environment(environment(manifests))
    assert settings.engine_image == "registry.example/vllm:v0.33.0"
    assert (settings.engine_version, settings.engine_host, settings.pod_ids) == ("0.33.0", "::", "platform")
    assert settings.hub_endpoint == "https://hub.example"
    assert settings.cluster_domain == "k8s.example"
    assert (settings.https_proxy, settings.http_proxy, settings.no_proxy) == ("http://proxy.example:3128", "", ".svc")
    assert (settings.ca_bundle_config_map, settings.ca_bundle_key) == ("trusted", "ca.crt")
    assert (settings.workers, settings.resync_seconds) == (4, 60)
    assert (settings.log_level, settings.log_format) == ("DEBUG", "json")
    assert settings.namespaces == ("a", "b")
    assert settings.image_pull_secrets == ("one", "two")
    assert settings.downloader_image == "registry.example/downloader:v7"
    assert settings.lease_name == "demo-qwen3-operator"


def test_defaults_leave_the_operators_own_alone() -> None:
    settings = Settings.from_environment(environment(template()))
    assert settings.engine_image == Settings().engine_image
    assert settings.hub_endpoint == Settings().hub_endpoint
    assert settings.namespaces == ()


def test_a_digest_goes_before_a_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    manifests = template(f"image.digest={digest}", "image.tag=v7", "image.repository=registry.example/operator")
    assert container(manifests)["image"] == f"registry.example/operator@{digest}"


def test_one_replica_that_is_never_doubled() -> None:
    spec = one(template(), "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_watching_namespaces_narrows_the_roles() -> None:
    manifests = template("watchNamespaces={a,b}")
    cluster_wide = one(manifests, "ClusterRole", "demo-qwen3-operator")["rules"]
    assert {r for rule in cluster_wide for r in rule["resources"]} == {"nodes", "storageclasses"}
    roles = [m for m in manifests if m["kind"] == "Role" and m["metadata"]["name"] == "demo-qwen3-operator"]
    assert {m["metadata"]["namespace"] for m in roles} == {"a", "b"}
    everywhere = one(template(), "ClusterRole", "demo-qwen3-operator")["rules"]
    assert [rule for rule in everywhere if rule not in cluster_wide] == roles[0]["rules"]


ROLES = pytest.mark.parametrize("namespaces", ["", "watchNamespaces={a,b}"])


def rules(*settings: str) -> list[dict[str, Any]]:
    """All rules of the operator's own roles."""
    roles = [m for m in template(*filter(None, settings)) if m["kind"] in ("ClusterRole", "Role")]
    return [rule for m in roles if m["metadata"]["name"].startswith("demo-qwen3-operator") for rule in m["rules"]]


@ROLES
def test_no_secret_can_be_read(namespaces: str) -> None:
    assert not [rule for rule in rules(namespaces) if {"secrets", "*"} & {*rule["resources"], *rule["verbs"]}]
    assert Settings.from_environment(environment(template())).read_secrets is False


@ROLES
def test_secrets_can_be_read_by_name_where_that_is_wanted(namespaces: str) -> None:
    found = [rule["verbs"] for rule in rules(namespaces, "rbac.readSecrets=true") if "secrets" in rule["resources"]]
    assert found and all(verbs == ["get"] for verbs in found)
    assert Settings.from_environment(environment(template("rbac.readSecrets=true"))).read_secrets is True


def test_where_tokens_and_proxy_passwords_go() -> None:
    given = ("settings.insecureEndpoints=hub.lan:8080\\,http://10.0.0.1", "settings.tokenEndpoints=hub.lan:8080")
    settings = Settings.from_environment(environment(template(*given, "settings.proxySecret=proxy")))
    assert settings.insecure_endpoints == ("hub.lan:8080", "http://10.0.0.1")
    assert (settings.token_endpoints, settings.proxy_secret) == (("hub.lan:8080",), "proxy")
    assert Settings.from_environment(environment(template())).insecure_endpoints == ()


def test_the_policy_excepts_the_operator_itself() -> None:
    kinds = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert not kinds & {m["kind"] for m in template()}
    manifests = template("policy.podAuthority.enabled=true", "serviceAccount.name=robot", namespace="ops")
    policy, binding = (one(manifests, kind) for kind in sorted(kinds))
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    exception = policy["spec"]["matchConditions"][0]["expression"]
    assert exception.endswith("!= 'system:serviceaccount:ops:robot'")


def test_limits_are_a_policy_of_what_is_set() -> None:
    manifests = template("policy.maxReplicas=4", "policy.models={Qwen/*,team/mine}")
    policy, binding = (one(manifests, f"ValidatingAdmissionPolicy{kind}") for kind in ("", "Binding"))
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    model, replicas, parallelism = policy["spec"]["validations"]
    assert "startsWith('Qwen/') || variables.model.id == 'team/mine'" in model["expression"]
    assert model["message"].endswith("Qwen/*, team/mine")
    assert replicas["expression"].endswith("<= 4") and parallelism["expression"].endswith("<= 4")
    both = template("policy.maxReplicas=4", "policy.podAuthority.enabled=true")
    named = [m for m in both if m["kind"] == "ValidatingAdmissionPolicy"]
    assert len({str(m["spec"]["matchConditions"]) for m in named}) == 1 and len(named) == 2


def test_service_monitor() -> None:
    assert not [m for m in template() if m["kind"] == "ServiceMonitor"]
    manifests = template("metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.release=prometheus")
    monitor, service = one(manifests, "ServiceMonitor"), one(manifests, "Service")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("replicas=2", "replicas"),
        ("watchNamespaces={Not_a_name}", "watchNamespaces"),
        ("settings.workers=0", "workers"),
        ("settings.logFormat=xml", "logFormat"),
        ("settings.hubEndpoint=modelscope.cn", "hubEndpoint"),
        ("settings.httpsProxy=http://me:pass@proxy:3128", "httpsProxy"),
        ("settings.tokenEndpoints=https://hub.example/base", "tokenEndpoints"),
        ("settings.proxySecret=Not_a_name", "proxySecret"),
        ("policy.models={Qwen3-8B'}", "models"),
        ("policy.images={*}", "images"),
        ("policy.endpoints={https://hub.example*}", "endpoints"),
        ("policy.maxReplicas=-1", "maxReplicas"),
        ("rbac.readSecrets=yes", "readSecrets"),
        ("image.digest=sha256:12", "digest"),
        ("metrics.service.port=70000", "port"),
        ("metrics.serviceMonitor.enabled=true,metrics.service.enabled=false", "metrics.service.enabled"),
        ("serviceAccount.create=false", "serviceAccount.name"),
    ],
)
def test_bad_values_are_refused_in_words(setting: str, words: str) -> None:
    with pytest.raises(HelmError, match=words):
        template(setting)
