"""Fields that a claim cannot follow are reported, each with what would help."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_operator.api.engine import CompileCache
from qwen3_operator.status.without_effect import of_compile_cache


def claim(size: str = "10Gi", mode: str = "ReadWriteOnce", storage_class: str = "fast") -> dict[str, Any]:
    spec = {"accessModes": [mode], "storageClassName": storage_class, "resources": {"requests": {"storage": size}}}
    return {"metadata": {"name": "chat-compile-cache"}, "spec": spec}


def cache(**fields: Any) -> CompileCache:
    return CompileCache.model_validate({"enabled": True, "size": "10Gi", "accessMode": "ReadWriteOnce"} | fields)


@pytest.mark.parametrize(
    ("wanted", "there", "fixed_class", "reasons", "words"),
    [
        (None, None, "", [], ""),
        (None, claim(), "", ["ClaimUnused"], "kubectl delete pvc chat-compile-cache frees it"),
        (cache(enabled=False), claim(), "", ["ClaimUnused"], "its claim chat-compile-cache (10Gi) is kept"),
        (cache(), None, "", [], ""),
        (cache(), claim(), "", [], ""),
        (cache(), claim("10737418240"), "", [], ""),  # the same size
        (cache(accessMode="ReadWriteMany"), claim(), "", ["FieldWithoutEffect"], "accessMode is ReadWriteMany"),
        (cache(storageClassName="slow"), claim(), "", ["FieldWithoutEffect"], "storageClassName is slow"),
        (cache(size="5Gi"), claim(), "", ["SizeWithoutEffect"], "a claim cannot shrink"),
        (cache(size="20Gi"), claim(), "", [], ""),  # it grows
        (cache(size="20Gi"), claim(), "fast", ["FieldWithoutEffect"], "StorageClass fast does not let claim"),
    ],
)
def test_of_the_compile_cache(
    wanted: CompileCache | None, there: dict[str, Any] | None, fixed_class: str, reasons: list[str], words: str
) -> None:
    found = of_compile_cache(wanted, there, fixed_class)
    assert [str(problem.reason) for problem in found] == reasons
    assert all(problem.severity == "warning" for problem in found)
    assert words in "".join(problem.message for problem in found)
