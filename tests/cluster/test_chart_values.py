"""What the chart renders is taken by the API server, whatever values a platform sets: no field is misspelt."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import devcluster
import pytest
import yaml
from devcluster import tools
from tests.chart.helm import template
from tests.cluster.world import World

VALUES = {
    "defaults": (),
    "two-that-take-turns": ("replicas=2", "networkPolicy.enabled=true"),
    "openshift": ("settings.podIds=platform",),
    "front": ("front.enabled=true,front.replicas=2,networkPolicy.enabled=true",),
    "front-of-namespaces": ("front.enabled=true,watchNamespaces={default},fences.enabled=true",),
    "no-cluster-role": ("watchNamespaces={default}", "rbac.readCluster=false", "rbac.aggregateToDefaultRoles=false"),
    "everything": (
        "policy.podAuthority.enabled=true,rbac.readSecrets=true,imagePullSecrets[0].name=registry,priorityClassName=high",
        "networkPolicy.enabled=true,networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
        "networkPolicy.extraEgress[0].to[0].ipBlock.cidr=10.0.0.0/8,networkPolicy.extraEgress[0].ports[0].port=3128",
        "extraVolumes[0].name=ca,extraVolumes[0].configMap.name=ca",
        "extraVolumeMounts[0].name=ca,extraVolumeMounts[0].mountPath=/ca,extraVolumeMounts[0].readOnly=true",
        "topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].maxSkew=1",
        "topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule",
        "tolerations[0].key=infra,tolerations[0].operator=Exists,nodeSelector.pool=infra,resources.limits.cpu=1",
        "podSecurityContext.supplementalGroups={1000},securityContext.runAsNonRoot=true,podLabels.a=b,podAnnotations.a=b",
        "env[0].name=NODE,env[0].valueFrom.fieldRef.fieldPath=spec.nodeName,serviceAccount.annotations.a=b",
        "metrics.service.annotations.a=b,imageRegistry=mirror.example:5000",
        "autoscaling.enabled=true,autoscaling.prometheusAddress=http://prometheus.monitoring:9090",
    ),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_api_server_knows_every_field(
    values: tuple[str, ...], cluster: devcluster.Cluster, make_world: Callable[[str], World]
) -> None:
    world = make_world("chart")
    text = yaml.safe_dump_all(template(*values, "crds.install=false", namespace=world.namespace))
    kubectl = tools.ensure(["kubectl"])["kubectl"]
    words = [str(kubectl), f"--kubeconfig={cluster.kubeconfig}", "apply", "--dry-run=server", "--validate=strict"]
    done = subprocess.run([*words, "-f", "-"], input=text, capture_output=True, text=True, check=False)
    world.api.delete("Namespace", None, world.namespace)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
