"""The Debian file system that the images stand on: where no registry is reached, mmdebstrap makes it."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import tempfile
from pathlib import Path

from images.catalog import BASE_PACKAGES

APT_SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
NO_MANUALS = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/doc/*")


def given() -> str:
    """An image to take as the base, by its name in a registry, like the Dockerfiles'; empty: one that is made."""
    return os.environ.get("BASE_IMAGE", "")


def key() -> str:
    """Changes with everything that the base depends on, Debian's own updates apart: 12 hexadecimal digits."""
    inputs = [given()] if given() else [codename(), platform.machine(), *BASE_PACKAGES, *NO_MANUALS]
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def make(archive: Path) -> None:
    """Write the file system as a tar archive. Takes about a minute; needs root, mmdebstrap and Debian's archive."""
    with tempfile.TemporaryDirectory() as folder:
        mirrors = []
        for name, text in apt_sources().items():
            mirrors.append(Path(folder, name))
            mirrors[-1].write_text(text)
        subprocess.run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=essential",
                '--aptopt=APT::Install-Recommends "false"',
                *(f"--dpkgopt=path-exclude={path}" for path in NO_MANUALS),
                "--dpkgopt=path-include=/usr/share/doc/*/copyright",
                f"--include={','.join(BASE_PACKAGES)}",
                codename(),
                str(archive),
                *map(str, mirrors),
            ],
            check=True,
        )


def codename() -> str:
    """Debian release of this machine, like bookworm."""
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def apt_sources() -> dict[str, str]:
    """This machine's own sources of its own release as {file name: text}, one file for each of apt's two formats."""
    lines: list[str] = []
    stanzas: list[str] = []
    for file in sorted(path for place in APT_SOURCES for path in ([place, *place.glob("*")])):
        if file.suffix == ".list" and file.is_file():
            lines += re.findall(rf"^deb\s.*?\s{codename()}(?:[-/]\S*)?\s.*$", file.read_text(), re.M)
        elif file.suffix == ".sources":
            texts = re.split(r"\n\s*\n", file.read_text())
            stanzas += [text for text in texts if re.search(rf"^Suites:\s*{codename()}\b", text, re.M)]
    found = {"base.list": "\n".join(lines), "base.sources": "\n\n".join(stanzas)}
    return {name: text + "\n" for name, text in found.items() if text}
