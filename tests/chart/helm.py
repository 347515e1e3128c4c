"""helm, as the development cluster builds it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml
from devcluster import tools

CHART = Path(__file__).parents[2] / "charts" / "qwen3-operator"
IMAGES = (
    "image.repository=registry.example/team/qwen3-operator",
    "downloaderImage.repository=registry.example/team/qwen3-downloader",
)
"""Settings without which the chart of the checkout is refused."""


class HelmError(Exception):
    """helm refused; the message holds its words."""


def helm(*args: str | Path, kubeconfig: Path | None = None) -> str:
    """What `helm ARGS` prints. Raises HelmError."""
    binary = tools.ensure(["helm"])["helm"]
    where = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    done = subprocess.run([str(binary), *map(str, args), *where], capture_output=True, text=True, timeout=180)
    if done.returncode:
        raise HelmError(done.stderr)
    return done.stdout


def flags(*settings: str) -> list[str]:
    """`--set SETTING` for each."""
    return [word for setting in settings for word in ("--set", setting)]


def template(
    *settings: str, release: str = "demo", namespace: str = "qwen3-system", images: tuple[str, ...] = IMAGES
) -> list[dict[str, Any]]:
    """The manifests of a release with `--set SETTING` each, after those of `images`. Raises HelmError."""
    # The helm built here claims an old Kubernetes where it has no cluster to ask.
    words: list[str | Path] = [
        "template",
        release,
        CHART,
        "--namespace",
        namespace,
        "--kube-version",
        tools.kubernetes_version(),
    ]
    return loaded(helm(*words, *flags(*images, *settings)))


def loaded(rendered: str) -> list[dict[str, Any]]:
    """The manifests of a text. Read by libyaml: of the CRDs, the YAML reader in Python makes a second a time."""
    return [manifest for manifest in yaml.load_all(rendered, Loader=yaml.CSafeLoader) if manifest]
