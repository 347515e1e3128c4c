"""What the chart renders, and which values it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from tests.chart.helm import CHART, IMAGES, HelmError, flags, helm, template
from tests.crds import crds

from qwen3_operator.settings import Settings

pytestmark = pytest.mark.cluster  # helm is one of its tools


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
    assert "0 chart(s) failed" in helm("lint", "--strict", CHART, *flags(*IMAGES))


def test_crds_are_those_of_the_repository_and_survive_an_uninstall() -> None:
    manifests = {m["metadata"]["name"]: m for m in template() if m["kind"] == "CustomResourceDefinition"}
    expected = crds()
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


def test_without_an_image_it_ends_in_words() -> None:
    """Otherwise the pod waits in ImagePullBackOff, and nobody has said a word."""
    for key, image in (("image", "qwen3-operator"), ("downloaderImage", "qwen3-downloader")):
        others = tuple(setting for setting in IMAGES if not setting.startswith(f"{key}."))
        with pytest.raises(
            HelmError, match=rf"{key}\.repository is not set: where is the image {image}\?.*install\.md"
        ):
            template(images=others)


def images(manifests: list[dict[str, Any]]) -> tuple[str, str, str]:
    """Of the operator, of the downloads, and of the servers where nobody names one."""
    settings = Settings.from_environment(environment(manifests))
    return container(manifests)["image"], settings.downloader_image, settings.engine_image


def test_one_value_has_everything_come_from_a_mirror() -> None:
    version, engine = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"], Settings().engine_image
    assert images(template("imageRegistry=mirror.example:5000", images=())) == (
        f"mirror.example:5000/qwen3-operator:{version}",
        f"mirror.example:5000/qwen3-downloader:{version}",
        f"mirror.example:5000/{engine}",
    )
    digest = f"sha256:{'0' * 64}"
    released = template("imageRegistry=mirror.example/hub/", f"image.digest={digest}")
    assert images(released) == (
        f"mirror.example/hub/team/qwen3-operator@{digest}",
        f"mirror.example/hub/team/qwen3-downloader:{version}",
        f"mirror.example/hub/{engine}",
    )
    assert images(template("global.imageRegistry=mirror.example/hub")) == images(
        template("imageRegistry=mirror.example/hub")
    )


@pytest.mark.parametrize(
    ("repository", "path"),
    [
        ("localhost/qwen3-operator", "qwen3-operator"),
        ("localhost:5000/qwen3-operator", "qwen3-operator"),
        ("team/qwen3-operator", "team/qwen3-operator"),
        ("10.0.0.1:5000/a/b/qwen3-operator", "a/b/qwen3-operator"),
    ],
)
def test_the_mirror_takes_the_place_of_the_host(repository: str, path: str) -> None:
    manifests = template(f"image.repository={repository}", "image.tag=v7", "imageRegistry=mirror.example")
    assert container(manifests)["image"] == f"mirror.example/{path}:v7"


def test_a_named_engine_does_not_come_from_the_mirror() -> None:
    manifests = template("imageRegistry=mirror.example", "settings.engineImage=registry.example/vllm:v0.33.0")
    assert images(manifests)[2] == "registry.example/vllm:v0.33.0"


def test_one_replica_that_is_never_doubled() -> None:
    manifests = template()
    spec = one(manifests, "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert "topologySpreadConstraints" not in spec["template"]["spec"]
    assert not [m for m in manifests if m["kind"] == "PodDisruptionBudget"]
    assert Settings.from_environment(environment(manifests)).standby is False


def test_others_wait_on_other_nodes_and_are_ready() -> None:
    manifests = template("replicas=3")
    spec, budget = one(manifests, "Deployment")["spec"], one(manifests, "PodDisruptionBudget")["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    (spread,) = spec["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"] == budget["selector"] == spec["selector"]
    assert Settings.from_environment(environment(manifests)).standby is True
    own = "topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].maxSkew=2"
    manifests = template("replicas=2", f"{own},topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule")
    (spread,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["maxSkew"] == 2
    assert spread["labelSelector"] == one(manifests, "Deployment")["spec"]["selector"], "a null selector counts no pod"


CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")


def test_for_namespaces_nothing_of_the_cluster_is_needed() -> None:
    manifests = template(
        *("watchNamespaces={a,b}", "rbac.readCluster=false", "rbac.aggregateToDefaultRoles=false"),
        "crds.install=false",
    )
    assert [m["metadata"]["name"] for m in manifests if m["kind"] in CLUSTER_WIDE] == []
    assert {m["metadata"]["namespace"] for m in manifests} == {"qwen3-system", "a", "b"}
    assert Settings.from_environment(environment(manifests)).read_cluster is False
    everywhere = one(template("rbac.readCluster=false"), "ClusterRole", "demo-qwen3-operator")["rules"]
    assert not [rule for rule in everywhere if {"nodes", "storageclasses"} & set(rule["resources"])]


def pod(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = one(manifests, "Deployment")["spec"]["template"]["spec"]
    return found


def test_ids_are_the_platforms_where_it_chooses_them() -> None:
    """restricted-v2 of OpenShift refuses a pod that names an id outside of its namespace's range."""
    assert pod(template())["securityContext"]["runAsUser"] == 65532
    chosen = pod(template("settings.podIds=platform"))["securityContext"]
    assert chosen == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert "runAsUser" not in pod(template("podSecurityContext.runAsUser=null"))["securityContext"]
    assert pod(template("podSecurityContext.runAsUser=1000680000"))["securityContext"]["runAsUser"] == 1000680000


def test_the_pod_passes_pod_security_restricted() -> None:
    it = pod(template())
    assert it["securityContext"]["runAsNonRoot"] is True
    assert it["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (only,) = it["containers"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_a_platform_adds_to_the_pod() -> None:
    manifests = template(
        *(
            "extraVolumes[0].name=ca,extraVolumes[0].configMap.name=trusted",
            "priorityClassName=system-cluster-critical",
        ),
        "extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/etc/ssl/own,extraVolumeMounts[0].readOnly=true",
        *("env[0].name=SSL_CERT_DIR,env[0].value=/etc/ssl/own", "resources.limits.cpu=2", "nodeSelector.pool=infra"),
        *("podLabels.team=ml", "podAnnotations.note=x", "tolerations[0].key=infra,tolerations[0].operator=Exists"),
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms={}",
    )
    it, only = pod(manifests), container(manifests)
    assert {volume["name"] for volume in it["volumes"]} == {"tmp", "ca"}
    assert {"name": "ca", "mountPath": "/etc/ssl/own", "readOnly": True} in only["volumeMounts"]
    assert {"name": "SSL_CERT_DIR", "value": "/etc/ssl/own"} in only["env"]
    assert only["resources"]["limits"] == {"cpu": 2, "memory": "512Mi"}
    assert it["priorityClassName"] == "system-cluster-critical"
    assert (it["nodeSelector"], it["tolerations"]) == ({"pool": "infra"}, [{"key": "infra", "operator": "Exists"}])
    meta = one(manifests, "Deployment")["spec"]["template"]["metadata"]
    assert (meta["labels"]["team"], meta["annotations"]["note"]) == ("ml", "x")
    assert "nodeAffinity" in it["affinity"]


def test_network_policy() -> None:
    assert not [m for m in template() if m["kind"] == "NetworkPolicy"]
    who = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring"
    manifests = template("networkPolicy.enabled=true", who, "networkPolicy.apiServerPorts={8443}")
    spec, deployment = one(manifests, "NetworkPolicy")["spec"], one(manifests, "Deployment")["spec"]
    assert spec["podSelector"] == deployment["selector"]
    (ingress,), (egress,) = spec["ingress"], spec["egress"]
    assert ingress["from"] == [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    assert ingress["ports"][0]["port"] == deployment["template"]["spec"]["containers"][0]["ports"][0]["name"]
    dns = [(protocol, port) for port in (53, 5353) for protocol in ("UDP", "TCP")]
    assert [(p["protocol"], p["port"]) for p in egress["ports"]] == [("TCP", 8443), *dns]


def test_every_value_is_in_the_schema_and_says_what_it_is_for() -> None:
    """A value that the schema does not know is refused, and one that it knows and values.yaml has not is hidden."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    given = values | {"global": {}}  # helm's own
    assert set(schema["properties"]) == set(given)
    for key, part in schema["properties"].items():
        if part.get("additionalProperties") is False and key not in FREE:
            assert set(part["properties"]) == set(values[key]), key


FREE = ("affinity", "podSecurityContext", "resources", "securityContext")
"""Values that have the shape of a Kubernetes type: what they may have beside values.yaml is documented there."""


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


@ROLES
def test_scaled_objects_are_touched_only_where_keda_is_there(namespaces: str) -> None:
    assert not [rule for rule in rules(namespaces) if "keda.sh" in rule["apiGroups"]]
    given = ("autoscaling.enabled=true", "autoscaling.prometheusAddress=http://prometheus:9090")
    found = [rule["resources"] for rule in rules(namespaces, *given) if "keda.sh" in rule["apiGroups"]]
    assert found and all(resources == ["scaledobjects"] for resources in found)
    assert Settings.from_environment(environment(template(*given))).prometheus_address == "http://prometheus:9090"
    assert Settings.from_environment(environment(template(given[1]))).prometheus_address == ""


@ROLES
def test_routes_can_be_made_where_that_is_wanted(namespaces: str) -> None:
    group = "gateway.networking.k8s.io"
    assert not [rule for rule in rules(namespaces) if group in rule["apiGroups"]]
    found = [rule for rule in rules(namespaces, "gateway.enabled=true") if group in rule["apiGroups"]]
    assert found and all(rule["resources"] == ["httproutes"] for rule in found)
    assert Settings.from_environment(environment(template())).gateway is False
    assert Settings.from_environment(environment(template("gateway.enabled=true"))).gateway is True


@ROLES
def test_pools_can_be_made_where_routes_can_and_that_is_wanted(namespaces: str) -> None:
    group, both = "inference.networking.k8s.io", ("gateway.enabled=true", "gateway.endpointPicker=true")
    for without in both:
        assert not [rule for rule in rules(namespaces, without) if group in rule["apiGroups"]]
        assert Settings.from_environment(environment(template(without))).endpoint_picker is False
    found = [rule for rule in rules(namespaces, *both) if group in rule["apiGroups"]]
    assert found and all(rule["resources"] == ["inferencepools"] for rule in found)
    assert Settings.from_environment(environment(template(*both))).endpoint_picker is True


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
    model, adapters, replicas, most, parallelism = policy["spec"]["validations"]
    assert "all(a, a.id.startsWith('Qwen/') || a.id == 'team/mine')" in adapters["expression"]
    assert "startsWith('Qwen/') || variables.model.id == 'team/mine'" in model["expression"]
    assert model["message"].endswith("Qwen/*, team/mine")
    assert all(it["expression"].endswith("<= 4") for it in (replicas, most, parallelism))
    assert "object.spec.autoscaling.maxReplicas" in most["expression"]
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
        ("replicas=0", "replicas"),
        ("replicaCount=2", "replicaCount"),
        ("image.repository=https://registry.example/operator", "repository"),
        ("image.repository=registry.example/operator:v7", "repository"),
        ("image.tag=v7@sha256", "tag"),
        ("imageRegistry=https://mirror.example", "imageRegistry"),
        ("global.imageRegistry=https://mirror.example", "imageRegistry"),
        ("imagePullSecrets[0].name=Not_a_name", "imagePullSecrets"),
        ("resources.request.cpu=1", "request"),
        ("resources.requests.cpu=a lot", "cpu"),
        ("resources.limits.memory=512MB", "memory"),
        ("tolerations[0].effect=Never", "effect"),
        ("tolerations[0].kee=gpu", "kee"),
        ("affinity.nodeAfinity.x=y", "nodeAfinity"),
        ("topologySpreadConstraints[0].topologyKey=zone", "maxSkew"),
        ("podSecurityContext.runAsRoot=true", "runAsRoot"),
        ("podSecurityContext.runAsUser=root", "runAsUser"),
        ("securityContext.capabilities.drop=ALL", "drop"),
        ("securityContext.fsGroup=1", "fsGroup"),
        ("extraVolumes[0].emptyDir.medium=Memory", "name"),
        ("extraVolumeMounts[0].name=x", "mountPath"),
        ("networkPolicy.apiServerPorts[0]=0", "apiServerPorts"),
        ("networkPolicy.metricsFrom[0].namespace=monitoring", "namespace"),
        ("rbac.readCluster=no", "readCluster"),
        ("priorityClassName=Not_a_name", "priorityClassName"),
        ("env[0].name=X,env[0].val=y", "val"),
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
        ("autoscaling.enabled=true", "prometheusAddress"),
        ("autoscaling.prometheusAddress=prometheus:9090", "prometheusAddress"),
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
