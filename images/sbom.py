"""What is in an image: its Debian and Python packages as CycloneDX, read from the image itself."""

from __future__ import annotations

import json
import posixpath
import tarfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]
DPKG = "var/lib/dpkg/status"
INSTALLED = "install ok installed"


def sbom(archive: Path, name: str, version: str) -> str:
    """The bill of materials of the image in a docker-archive: the same image has the same text."""
    found = {component["bom-ref"]: component for component in _components(_files(archive))}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": [found[reference] for reference in sorted(found)],
    }
    return json.dumps(document, indent=1) + "\n"


def _files(archive: Path) -> dict[str, str]:
    """The files that say what is installed, by path, as the topmost layer has them."""
    found: dict[str, str] = {}
    with tarfile.open(archive) as outer:
        (manifest,) = json.loads(_read(outer, "manifest.json"))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
                for member in inner:
                    path = posixpath.normpath(member.name.lstrip("/"))
                    folder, file = posixpath.split(path)
                    if file.startswith(".wh."):  # a file or folder of a layer below that is gone
                        gone = posixpath.join(folder, file.removeprefix(".wh."))
                        found = {p: t for p, t in found.items() if p != gone and not p.startswith(f"{gone}/")}
                    elif member.isfile() and (path == DPKG or path.endswith(".dist-info/METADATA")):
                        found[path] = _read(inner, member)
    return found


def _read(archive: tarfile.TarFile, member: str | tarfile.TarInfo) -> str:
    file = archive.extractfile(member)
    assert file is not None
    return file.read().decode(errors="replace")


def _components(files: dict[str, str]) -> Iterator[Component]:
    for stanza in files.get(DPKG, "").split("\n\n"):
        package = HeaderParser().parsestr(stanza.lstrip("\n"))
        if package["Status"] == INSTALLED:
            name, version = package["Package"], package["Version"]
            url = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={package['Architecture']}"
            yield _component(name, version, url)
    for path, text in files.items():
        if path != DPKG:
            package = HeaderParser().parsestr(text)
            name, version = package["Name"], package["Version"]
            normal = name.lower().replace("_", "-").replace(".", "-")
            licence = package["License-Expression"]
            yield _component(name, version, f"pkg:pypi/{normal}@{quote(version, safe='')}", licence)


def _component(name: str, version: str, url: str, licence: str | None = None) -> Component:
    licences = {"licenses": [{"expression": licence}]} if licence else {}
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url} | licences
