"""A release: the images of one version in a registry, and the chart that names them by digest.

dist/ then has what else people need: the chart as a file, its manifest for `kubectl apply`, the list of images to
mirror, and what is in each image (CycloneDX).
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from devcluster import tools

from images.build import BuildError, build
from images.catalog import REPOSITORY
from images.push import push_as
from images.sbom import sbom
from qwen3_operator import __version__
from qwen3_operator.settings import ENGINE_IMAGE

CHART = REPOSITORY / "charts" / "qwen3-operator"
NAMESPACE = "qwen3-system"
VALUES = {"operator": "image", "downloader": "downloaderImage"}
"""The released images -> where the chart's values name them."""
_MARKS = re.compile(r"^ *(app\.kubernetes\.io/managed-by|helm\.sh/[a-z-]+): .*\n|^# Source: .*\n", re.MULTILINE)
_NO_ANNOTATIONS = re.compile(r"^  annotations:\n(?=\S|  \S)", re.MULTILINE)
"""What taking the marks away leaves without content."""


def release(
    registry: str,
    *,
    insecure: bool = False,
    pushed: Mapping[str, str] | None = None,
    target: Path = REPOSITORY / "dist",
) -> str:
    """Release this version into `registry` (registry.example/team) and the folder `target`; says how to install it.

    `pushed`: digests of images that are there already, as a builder for several architectures leaves them; they are not
    built here, and it lists what is in them. Raises BuildError.
    """
    insecure = insecure or is_here(registry)
    digests = _digests(pushed or {})
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in [name for name in VALUES if name not in digests]:
        digests[name] = push_as(name, f"{registry}/qwen3-{name}:{__version__}", insecure=insecure)
        bill = sbom(build(name).archive, f"{registry}/qwen3-{name}", __version__)
        (target / f"qwen3-{name}.cdx.json").write_text(bill)
    chart = package(registry, digests, target)
    plain = ["--plain-http"] if insecure else []
    _helm("push", str(chart), f"oci://{registry}/charts", *plain)
    (target / "install.yaml").write_text(manifest(chart))
    images = [f"{registry}/qwen3-{name}@{digests[name]}" for name in VALUES]
    (target / "images.txt").write_text("".join(f"{image}\n" for image in [*images, f"docker.io/{ENGINE_IMAGE}"]))
    return "\n".join(
        [
            *images,
            "",
            f"helm install qwen3-operator oci://{registry}/charts/qwen3-operator --version {__version__} "
            f"--namespace {NAMESPACE} --create-namespace {' '.join(plain)}".rstrip(),
        ]
    )


def package(registry: str, digests: Mapping[str, str], target: Path) -> Path:
    """The chart as an archive, with the images by digest in its values."""
    with tempfile.TemporaryDirectory() as temporary:
        chart = shutil.copytree(CHART, Path(temporary, CHART.name))
        values = chart / "values.yaml"
        text = values.read_text()
        for name, key in VALUES.items():
            text = with_image(text, key, f"{registry}/qwen3-{name}", digests[name])
        values.write_text(text)
        _helm("package", str(chart), f"--destination={target}")
    return target / f"{CHART.name}-{__version__}.tgz"


def with_image(values: str, key: str, repository: str, digest: str) -> str:
    """values.yaml with another default of one image; its comments stay."""
    block = re.compile(rf'^({key}:\n  repository: )""(\n  tag: ""\n  digest: )""$', re.MULTILINE)
    changed, count = block.subn(rf'\g<1>"{repository}"\g<2>"{digest}"', values)
    if count != 1:
        raise BuildError(f"values.yaml has no {key} with an empty repository, tag and digest")
    return changed


def manifest(chart: Path, *settings: str) -> str:
    """What helm would install, for `kubectl apply`: with the namespace, and without helm's marks."""
    where = [f"--namespace={NAMESPACE}", f"--kube-version={tools.kubernetes_version()}"]
    rendered = _helm("template", "qwen3-operator", str(chart), *where, *(f"--set={setting}" for setting in settings))
    bare = _MARKS.sub("", rendered)
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n"
    return namespace + _NO_ANNOTATIONS.sub("", bare)


def is_here(registry: str) -> bool:
    """Whether the registry is on this machine: such a one speaks plain HTTP, as docker and containerd take it."""
    host = registry.partition("/")[0].rpartition(":")[0] or registry.partition("/")[0]
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _digests(pushed: Mapping[str, str]) -> dict[str, str]:
    for name, digest in pushed.items():
        if name not in VALUES:
            raise BuildError(f"a release has no image {name!r}; it has {', '.join(VALUES)}")
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise BuildError(f"the digest of {name} is {digest!r}, not sha256: and 64 hexadecimal digits")
    return dict(pushed)


def _helm(*words: str) -> str:
    """What `helm WORDS` prints. Raises BuildError with its own words."""
    helm = tools.ensure(["helm"])["helm"]
    done = subprocess.run([str(helm), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"helm {words[0]}: {done.stderr.strip()}")
    return done.stdout
