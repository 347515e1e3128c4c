"""What goes to a pod is all that its modules import of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from qwen3_operator.desired import batch_config, in_engine
from qwen3_operator.desired.modules import SHARED, Module, modules

PACKAGES = [in_engine.PACKAGE, batch_config.PACKAGE]


def ours(module: Module) -> Iterator[str]:
    """Paths of the modules of ours that a module imports."""
    for node in ast.walk(ast.parse(module.text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        yield from (f"{name.replace('.', '/')}.py" for name in names if name.startswith("qwen3_in_engine"))


@pytest.mark.parametrize("package", PACKAGES)
def test_whatever_is_imported_is_there(package: str) -> None:
    found = modules(package)
    there = {module.path for module in found.values()}
    there |= {path.replace("/__init__.py", ".py") for path in there}
    for module in found.values():
        assert set(ours(module)) <= there, module.path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_lost_for_its_name(package: str) -> None:
    paths = [module.path for module in modules(package).values()]
    assert len(set(paths)) == len(paths)
    assert sum(path.endswith("/__init__.py") for path in paths) == 2


def test_what_is_shared_imports_itself_alone() -> None:
    folder = SHARED.replace(".", "/")
    for module in modules(in_engine.PACKAGE).values():
        if module.path.startswith(folder):
            assert all(path.startswith(folder) for path in ours(module)), module.path
