"""Sets the stage on a cluster: images on its node, the operator by helm, the hub, the volume with vLLM."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from images.build import Built, build
from images.catalog import REPOSITORY
from images.vllm_bundle import bundle

from demo import manifests, ours
from demo.kube import DemoError, Kube
from demo.ours import RELEASE
from demo.target import Target

CHART = REPOSITORY / "charts" / "qwen3-operator"
EXAMPLE = REPOSITORY / "examples" / "tiny.yaml"
IMAGES = ("operator", "downloader", "hub", "vllm-cpu")


def images() -> dict[str, Built]:
    """The demo's images, built where they changed."""
    return {name: build(name) for name in IMAGES}


def load(built: Mapping[str, Built], load_image: Callable[[Path], object]) -> None:
    """Bring the images to the node."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(load_image, (image.archive for image in built.values())))


def install(kube: Kube, built: Mapping[str, Built]) -> None:
    """On a development cluster: what `_install` puts there, and vLLM's folder as a volume."""
    _install(kube, {name: image.reference for name, image in built.items()}, [])
    kube.apply(manifests.vllm_volume(manifests.NAMESPACE, bundle()))


def install_at(target: Target, *namespaces: str) -> None:
    """On a cluster that somebody gave: the same for the demo's namespace (and `namespaces`) alone, and no folder of a
    node. Raises DemoError, and changes nothing, where the cluster has something else of these names."""
    _install(target.kube, target.images, [manifests.NAMESPACE, *namespaces])


def example(images: Mapping[str, str] | None = None) -> dict[str, Any]:
    """examples/tiny.yaml; with `images` for a cluster that pulls them: its image has vLLM inside, no volume has it."""
    manifest: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    if images:
        manifest["spec"]["engine"]["image"] = images["vllm-cpu"]
        del manifest["spec"]["podTemplatePatch"]
    return manifest


def _install(kube: Kube, images: Mapping[str, str], only: list[str]) -> None:
    """The operator by helm (for the namespaces `only`, or all), the hub, and the namespaces; returns when they run."""
    ours.refuse_others(kube, tuple(only))
    namespaces = {manifests.HUB_NAMESPACE, manifests.SYSTEM_NAMESPACE, manifests.NAMESPACE, *only}
    kube.apply([*map(manifests.namespace, sorted(namespaces)), *manifests.hub(images["hub"])])
    values = {"settings.hubEndpoint": manifests.HUB_URL, "settings.logFormat": "text"}
    for key, name in (("image", "operator"), ("downloaderImage", "downloader")):
        repository, _, tag = images[name].rpartition(":")
        values |= {f"{key}.repository": repository, f"{key}.tag": tag}
    flags = [word for key, value in values.items() for word in ("--set-string", f"{key}={value}")]
    flags += ["--set", f"watchNamespaces={{{','.join(only)}}}"] if only else []
    where = [*ours.IN_RELEASE, f"--labels={manifests.MARK_SELECTOR}", "--wait", "--timeout=120s"]
    try:
        kube.helm("upgrade", "--install", RELEASE, str(CHART), *where, *flags)
    except DemoError as error:
        operator = ["-n", manifests.SYSTEM_NAMESPACE, "-l", f"app.kubernetes.io/instance={RELEASE}"]
        log = kube.run("logs", "--tail=20", "--ignore-errors", *operator)
        raise DemoError(f"{error}\n{kube.run('get', 'pods', *operator)}{log}") from error
    kube.run("-n", manifests.HUB_NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=60s")
