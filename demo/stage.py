"""Sets the stage on a cluster: images on its node, the operator by helm, the hub, the volume with vLLM."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from images.build import Built, build
from images.catalog import REPOSITORY
from images.vllm_bundle import bundle

from demo import manifests
from demo.kube import DemoError, Kube

CHART = REPOSITORY / "charts" / "qwen3-operator"
RELEASE = "qwen3-operator"
IMAGES = ("operator", "downloader", "hub", "vllm-cpu")


def images() -> dict[str, Built]:
    """The demo's images, built where they changed."""
    return {name: build(name) for name in IMAGES}


def load(built: dict[str, Built], load_image: Callable[[Path], object]) -> None:
    """Bring the images to the node."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(load_image, (image.archive for image in built.values())))


def install(kube: Kube, built: dict[str, Built], *, settings: dict[str, str] | None = None) -> None:
    """The operator in the cluster by helm, the hub, and the namespace for Qwen3Deployments; returns when they run."""
    hub = [manifests.namespace(manifests.HUB_NAMESPACE), *manifests.hub(built["hub"].reference)]
    kube.apply([*hub, manifests.namespace(manifests.SYSTEM_NAMESPACE)])
    serve_in(kube, manifests.NAMESPACE)
    values = {"settings.hubEndpoint": manifests.HUB_URL, "settings.logFormat": "text", **(settings or {})}
    for key, name in (("image", "operator"), ("downloaderImage", "downloader")):
        repository, _, tag = built[name].reference.rpartition(":")
        values |= {f"{key}.repository": repository, f"{key}.tag": tag}
    flags = [word for key, value in values.items() for word in ("--set-string", f"{key}={value}")]
    where = [f"--namespace={manifests.SYSTEM_NAMESPACE}", "--wait", "--timeout=120s"]
    try:
        kube.helm("upgrade", "--install", RELEASE, str(CHART), *where, *flags)
    except DemoError as error:
        operator = ["-n", manifests.SYSTEM_NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}"]
        log = kube.run("logs", "--tail=20", "--ignore-errors", *operator)
        raise DemoError(f"{error}\n{kube.run('get', 'pods', *operator)}{log}") from error
    kube.run("-n", manifests.HUB_NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=60s")


def serve_in(kube: Kube, namespace: str) -> None:
    """A namespace where the CPU build of vLLM can be mounted."""
    kube.apply([manifests.namespace(namespace), *manifests.vllm_volume(namespace, bundle())])
