"""KEDA's part of the API, of the pinned release."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from devcluster.golang import environment, find_go

PIN = Path(__file__).parent / "crds"
MODULE = "github.com/kedacore/keda/v2"
CRD = "scaledobjects.keda.sh"


def scaled_object_crd() -> dict[str, Any]:
    """The CRD of ScaledObjects."""
    get = [str(find_go()), "mod", "download", "-json", MODULE]
    done = subprocess.run(get, cwd=PIN, env=environment(), capture_output=True, text=True, check=True)
    path = Path(json.loads(done.stdout)["Dir"]) / "config" / "crd" / "bases" / "keda.sh_scaledobjects.yaml"
    crd: dict[str, Any] = yaml.safe_load(path.read_text())
    return crd
