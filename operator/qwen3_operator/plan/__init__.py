"""spec + facts of the model + settings + GPUs -> Plan: every value that servers are made from, each with its reason.

Pure: the same input gives the same plan, in every process and after every restart.
"""

from __future__ import annotations

from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.plan.resolve import make_plan
from qwen3_operator.plan.types import Fit, Plan, Value, Weights

__all__ = ["Fit", "NodeGpus", "Plan", "Value", "Weights", "make_plan"]
