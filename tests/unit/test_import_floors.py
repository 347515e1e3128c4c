"""The floors of the house: who may import whom. Pure code knows neither kopf nor a client."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "qwen3_operator"
REPOSITORY = Path(__file__).parents[2]
ROOT = REPOSITORY / "operator" / PACKAGE
FRAMEWORKS = {"kopf", "kubernetes", "aiohttp", "uvloop"}
PURE = {"api", "catalog", "engine", "plan", "desired", "status", "naming", "settings"}
ACTING = {"controller", "reconcile", "handlers", "process", "commands", "plugin", "__main__"}
KIT = "controller"
WORDS = {"decode", "environment", "kinds", "quantity"}
"""Modules of the kit that are pure: the only ones that pure code may use."""
# Of the outside world only these; of the package only these modules beside itself.
PROGRAMS = {
    "in_engine/qwen3_in_engine/verify": {"qwen3_in_engine"},
    "in_engine/qwen3_in_engine/batch_runner": {"qwen3_in_engine", "vllm"},
    "in_engine/qwen3_in_engine/capacity": {"qwen3_in_engine", "vllm"},
    # vLLM imports prometheus_client itself, for the /metrics that ours are to be part of.
    "in_engine/qwen3_in_engine/server": {"qwen3_in_engine", "vllm", "prometheus_client"},
    "front/qwen3_front": {
        *("qwen3_front", "qwen3_operator", "aiohttp", "multidict", "yarl"),
        *("prometheus_client", "pydantic", "pydantic_core", "kubernetes"),
    },
    "downloader/qwen3_download": {"qwen3_download", "certifi", "jinja2", "modelscope_hub", "pycurl", "requests"},
}
"""What runs elsewhere, and all that it imports beside the standard library: what its image has."""
THIRD_PARTY = {"api": {"pydantic", "pydantic_core"}, "catalog": {"pydantic", "yaml"}, "settings": {"pydantic"}}
FLOOR = {
    "api": set(),
    "catalog": set(),
    "engine": {"api", "catalog"},
    "naming": {"api"},
    "settings": set(),
    "plan": {"api", "catalog", "engine", "naming", "settings"},
    "desired": {"api", "catalog", "engine", "naming", "plan", "settings"},
    "status": {"api", "catalog", "engine", "naming", "plan", "desired", "settings"},
    KIT: set(),
}


def modules() -> dict[str, list[Path]]:
    """Files of each part of the package: a folder, or a module."""
    parts: dict[str, list[Path]] = {}
    for path in sorted(ROOT.rglob("*.py")):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if part != "__init__":
            parts.setdefault(part, []).append(path)
    return parts


def imports(path: Path) -> Iterator[str]:
    """Every module that `path` imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from qwen3_operator.controller import metrics` imports the module metrics.
            yield from (
                f"{node.module}.{alias.name}" if node.module == PACKAGE else node.module for alias in node.names
            )


def inside(name: str) -> str | None:
    """The part of the package that `name` is in; None for what is outside, and for what everybody may use."""
    package, _, rest = name.partition(".")
    part, _, module = rest.partition(".")
    everybodys = part == "__version__" or (part == KIT and module in WORDS)
    return part if package == PACKAGE and not everybodys else None


def test_every_part_has_its_floor() -> None:
    assert set(modules()) == PURE | ACTING, "a new part of the package needs a floor here"


@pytest.mark.parametrize("part", sorted(PURE))
def test_pure_code_knows_neither_framework_nor_client(part: str) -> None:
    for path in modules()[part]:
        assert not FRAMEWORKS & {name.split(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("part", sorted(FLOOR))
def test_who_imports_whom(part: str) -> None:
    for path in modules()[part]:
        beyond = {inside(name) for name in imports(path)} - {None, part} - FLOOR[part]
        assert not beyond, f"{path.relative_to(ROOT)} imports {beyond}"


@pytest.mark.parametrize("part", sorted(THIRD_PARTY))
def test_libraries_of_the_lowest_floors(part: str) -> None:
    for path in modules()[part]:
        outside = {name.split(".")[0] for name in imports(path)} - {PACKAGE}
        strange = outside - set(sys.stdlib_module_names) - THIRD_PARTY[part]
        assert not strange, f"{path.relative_to(ROOT)} imports {strange}"


@pytest.mark.parametrize("module", sorted(WORDS))
def test_the_pure_words_of_the_kit_stand_on_nothing(module: str) -> None:
    outside = {name.split(".")[0] for name in imports(ROOT / KIT / f"{module}.py")}
    assert outside <= set(sys.stdlib_module_names) | {"pydantic_core"}


def test_the_kit_knows_no_qwen3() -> None:
    """No identifier or kind of ours in it: it could serve any operator. Names of the package and program are free."""
    for path in modules()[KIT]:
        for node in ast.walk(ast.parse(path.read_text())):
            words = [node.id] if isinstance(node, ast.Name) else [node.attr] if isinstance(node, ast.Attribute) else []
            words += [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            assert not any("qwen3" in word.lower() for word in words), f"{path.name}: {words}"


@pytest.mark.parametrize("folder", sorted(PROGRAMS))
def test_programs_of_other_images_import_what_is_there(folder: str) -> None:
    paths = sorted((REPOSITORY / folder).rglob("*.py"))
    assert paths
    for path in paths:
        strange = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - PROGRAMS[folder]
        assert not strange, f"{path.relative_to(REPOSITORY)} imports {strange}"


def test_the_front_uses_the_kit_alone() -> None:
    """It runs in the operator's image, and knows none of its decisions."""
    for path in sorted((REPOSITORY / "front/qwen3_front").rglob("*.py")):
        parts = {inside(name) for name in imports(path)} - {None}
        assert parts <= {KIT}, f"{path.name} imports {parts}"


@pytest.mark.parametrize("module", ["contract", "table"])
def test_what_the_operator_uses_of_the_front_is_pure(module: str) -> None:
    outside = {name.split(".")[0] for name in imports(REPOSITORY / f"front/qwen3_front/{module}.py")}
    assert outside <= set(sys.stdlib_module_names) | {"qwen3_front"}


def test_only_the_edge_imports_kopf() -> None:
    users = {part for part, paths in modules().items() for path in paths if "kopf" in set(imports(path))}
    assert users == {"handlers", "process"}
