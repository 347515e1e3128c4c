"""What goes to a pod is all that its modules import of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from qwen3_operator.desired import batch_config, in_engine
from qwen3_operator.desired.modules import SHARED, Module, modules

PACKAGES = [(in_engine.PACKAGE, in_engine.MEASURING), (batch_config.PACKAGE,)]
"""What goes to a pod together."""


def ours(module: Module) -> Iterator[str]:
    """Paths of the modules of ours that a module imports."""
    for node in ast.walk(ast.parse(module.text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        yield from (f"{name.replace('.', '/')}.py" for name in names if name.startswith("qwen3_in_engine"))


@pytest.mark.parametrize("packages", PACKAGES)
def test_whatever_is_imported_is_there(packages: tuple[str, ...]) -> None:
    found = modules(*packages)
    there = {module.path for module in found.values()}
    there |= {path.replace("/__init__.py", ".py") for path in there}
    for module in found.values():
        assert set(ours(module)) <= there, module.path


@pytest.mark.parametrize("packages", PACKAGES)
def test_no_file_is_lost_for_its_name(packages: tuple[str, ...]) -> None:
    paths = [module.path for module in modules(*packages).values()]
    assert len(set(paths)) == len(paths)
    assert sum(path.endswith("/__init__.py") for path in paths) == 1 + len(packages)


def test_a_server_that_does_not_measure_needs_nothing_of_what_measures() -> None:
    """It has no such files: whoever imports them does so where it is to measure."""
    folder = in_engine.MEASURING.replace(".", "/")
    for module in modules(in_engine.PACKAGE).values():
        assert not module.path.startswith(folder)
        at_the_start = ast.Module([n for n in ast.parse(module.text).body if not isinstance(n, ast.If)], [])
        top = [n for n in at_the_start.body if isinstance(n, ast.Import | ast.ImportFrom)]
        assert not any(folder in path for path in ours(Module(module.path, "\n".join(map(ast.unparse, top)))))


def test_what_is_shared_imports_itself_alone() -> None:
    folder = SHARED.replace(".", "/")
    for module in modules(in_engine.PACKAGE).values():
        if module.path.startswith(folder):
            assert all(path.startswith(folder) for path in ours(module)), module.path
