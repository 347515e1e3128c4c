"""Observe -> plan -> apply -> report, for each kind. The only place where deciding and acting meet."""

from __future__ import annotations

from qwen3_operator.reconcile.batch import reconcile_batch
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.deployment import reconcile_deployment
from qwen3_operator.reconcile.key import Key
from qwen3_operator.reconcile.model import reconcile_model

__all__ = ["Context", "Key", "reconcile_batch", "reconcile_deployment", "reconcile_model"]
