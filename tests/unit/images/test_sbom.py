"""What is in an image is read from its layers."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from images.sbom import sbom

DPKG = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u13
Description: a library
 over two lines

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1:1.0
"""
METADATA = """\
Metadata-Version: 2.4
Name: Prometheus_client
Version: 0.23.1
License-Expression: Apache-2.0

Name: no header
"""
SITE = "opt/qwen3/lib/python3.11/site-packages"


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A docker-archive of two layers; the second has taken pip away."""
    base = {"./var/lib/dpkg/status": DPKG.encode(), f"{SITE}/pip-25.dist-info/METADATA": b"Name: pip\nVersion: 25\n"}
    top = {
        f"{SITE}/.wh.pip-25.dist-info": b"",
        f"{SITE}/prometheus_client-0.23.1.dist-info/METADATA": METADATA.encode(),
    }
    layers = {"1.tar": tar(base), "2.tar": tar(top)}
    manifest = json.dumps([{"Layers": [*layers]}]).encode()
    path = tmp_path / "image.tar"
    path.write_bytes(tar({"manifest.json": manifest, **layers}))
    return path


def test_debian_and_python_packages_are_listed(archive: Path) -> None:
    document: dict[str, Any] = json.loads(sbom(archive, "registry.example/qwen3-operator", "0.1.0"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "registry.example/qwen3-operator"
    assert document["components"] == [
        {
            "type": "library",
            "bom-ref": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64",
            "name": "libc6",
            "version": "2.36-9+deb12u13",
            "purl": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64",
        },
        {
            "type": "library",
            "bom-ref": "pkg:pypi/prometheus-client@0.23.1",
            "name": "Prometheus_client",
            "version": "0.23.1",
            "purl": "pkg:pypi/prometheus-client@0.23.1",
            "licenses": [{"expression": "Apache-2.0"}],
        },
    ]


def test_the_same_image_has_the_same_text(archive: Path) -> None:
    assert sbom(archive, "it", "1") == sbom(archive, "it", "1")
