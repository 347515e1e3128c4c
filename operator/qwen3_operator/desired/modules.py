"""Our modules that run in vLLM's image, as a ConfigMap carries them: keys are flat, the paths in the pod are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

SHARED = "qwen3_in_engine.verify"
"""What each of the packages imports beside itself."""


@dataclass(frozen=True)
class Module:
    """One module: its path, by which the others import it, and its text."""

    path: str
    text: str


@cache
def modules(package: str, *more: str) -> Mapping[str, Module]:
    """Key of the ConfigMap -> module, of `package`, of what is shared, and of `more` packages. Keys of the latter have
    their name before them: two packages may have a file of one name."""
    return {
        f"{prefix}{file.name}": Module(f"{name.replace('.', '/')}/{file.name}", file.read_text(encoding="utf-8"))
        for name, prefix in ((package, ""), *((it, f"{it.rpartition('.')[2]}.") for it in (SHARED, *more)))
        for file in resources.files(name).iterdir()
        if file.name.endswith(".py")
    }


def texts(package: str, *more: str) -> dict[str, str]:
    """The data of the ConfigMap."""
    return {key: module.text for key, module in modules(package, *more).items()}


def items(package: str, *more: str) -> list[dict[str, str]]:
    """The items of its volume."""
    return [{"key": key, "path": module.path} for key, module in sorted(modules(package, *more).items())]
