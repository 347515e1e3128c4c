"""Where the demo works: on a development cluster of its own, or on the one that DEMO_KUBECONFIG names.

KUBECONFIG is never asked: people have it set to clusters that they care about.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from images.push import references

from demo.kube import DemoError, Kube

KUBECONFIG, REGISTRY = "DEMO_KUBECONFIG", "DEMO_REGISTRY"
HOW = "docs/your-cluster.md says how"


class Target(NamedTuple):
    """A cluster that somebody gave to the demo."""

    kube: Kube
    images: dict[str, str]
    """References by the images' names; its nodes can pull them."""


def given(environ: Mapping[str, str] = os.environ) -> Target | None:
    """The cluster and the images that the environment names; None for a development cluster. Raises DemoError."""
    kube, registry = given_cluster(environ), environ.get(REGISTRY, "").rstrip("/")
    if kube is None and registry:
        raise DemoError(f"{REGISTRY} is for a cluster that {KUBECONFIG} names; a development cluster pulls no image")
    if kube is None:
        return None
    if not registry:
        raise DemoError(
            f"{KUBECONFIG} is set, {REGISTRY} is not: the nodes need a registry that has the images. Push them with"
            f" `make images-push REGISTRY=registry.example/team`; {HOW}"
        )
    return Target(kube, references(registry))


def given_cluster(environ: Mapping[str, str] = os.environ) -> Kube | None:
    """The cluster of DEMO_KUBECONFIG, a file or several as in KUBECONFIG; None where it is unset. Raises DemoError."""
    files = environ.get(KUBECONFIG, "")
    if not files:
        return None
    # Without a file or a context kubectl takes another cluster: that of the pod it runs in, or one on localhost.
    if not any(Path(file).is_file() for file in files.split(os.pathsep) if file):
        raise DemoError(f"{KUBECONFIG}={files}: there is no such file")
    kube = Kube(files)
    try:
        kube.run("config", "current-context")
    except DemoError as error:
        raise DemoError(f"{KUBECONFIG}={files} names no context: {error}") from error
    return kube
