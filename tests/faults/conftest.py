"""Each case has a namespace and operators of its own, on the control plane of the folder."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody watches is reconciled each second, and news at once: one that waits would be taken for rest."""
    monkeypatch.setattr("qwen3_operator.reconcile.triggers.PATIENCE", {})
    for name in ("USERS_SECONDS", "PROGRESS_SECONDS"):
        monkeypatch.setattr(f"qwen3_operator.reconcile.triggers.{name}", 0.0)
    for module in ("deployment", "model"):
        monkeypatch.setattr(f"qwen3_operator.reconcile.{module}.TROUBLE_SECONDS", 1.0)
