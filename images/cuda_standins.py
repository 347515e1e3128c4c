"""Stand-ins for CUDA's libraries, so that PyPI's torch loads on a machine without a GPU.

PyPI has torch for Linux as a CUDA build only, which links to 3.3 GB of NVIDIA libraries that a CPU never calls. One
small library that exports their names takes their place; each function answers 100, CUDA's "no device". The real
libcudart (0.7 MB) stays: torch asks it whether there is a GPU.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

LIBRARY = "libcuda_standins.so"
CUDA_SYMBOL = re.compile(r"cu[A-Za-z]|nccl|nvrtc|nvshmem")
CUDA_NO_DEVICE = 100


def add(site: Path) -> None:
    """Put the stand-ins beside torch's own libraries in `site` (a site-packages folder). Needs gcc and binutils."""
    folder = site / "torch" / "lib"
    torch = sorted(folder.glob("*.so*"))
    real = sorted((site / "nvidia").rglob("*.so*"))
    by_version = _missing(torch, real)
    with tempfile.TemporaryDirectory() as build:
        source, versions = Path(build, "standins.c"), Path(build, "standins.map")
        names = [name for names in by_version.values() for name in names]
        source.write_text("".join(f"int {name}(void) {{ return {CUDA_NO_DEVICE}; }}\n" for name in names))
        nodes = [f"{version} {{ global: {'; '.join(n)}; }};\n" for version, n in by_version.items() if version]
        versions.write_text("".join(nodes))  # the loader insists on the version that a name was linked with
        target = folder / LIBRARY
        options = ["-w", "-fno-builtin", "-shared", "-fPIC", f"-Wl,--version-script={versions}"]
        subprocess.run(["gcc", *options, "-o", str(target), str(source)], check=True)
    present = {file.name for file in (*torch, *real)}
    for name in sorted(_needed(torch) - present):
        (folder / name).symlink_to(LIBRARY)


def _missing(torch: list[Path], real: list[Path]) -> dict[str, list[str]]:
    """Names of CUDA functions that torch uses and nothing here defines, by symbol version ("" for none)."""
    defined = {symbol.partition("@")[0] for file in (*torch, *real) for symbol in _symbols("--defined-only", file)}
    used = {symbol for file in torch for symbol in _symbols("--undefined-only", file)}
    by_version: dict[str, list[str]] = defaultdict(list)
    for symbol in sorted(used):
        name, _, version = symbol.partition("@")
        if CUDA_SYMBOL.match(name) and name not in defined:
            by_version[version].append(name)
    return by_version


def _symbols(which: str, file: Path) -> list[str]:
    listing = subprocess.run(["nm", "-D", which, str(file)], capture_output=True, text=True, check=True).stdout
    return [line.split()[-1] for line in listing.splitlines() if line]


def _needed(files: list[Path]) -> set[str]:
    """NVIDIA's libraries among those that the files link to."""
    listing = subprocess.run(["readelf", "-d", *map(str, files)], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"\(NEEDED\).*\[(lib(?:cu|nccl|nvrtc|nvshmem)\S*)\]", listing)) - {"libcuda.so.1"}
