"""What specs were resolved into, for those who ask the same again: a Qwen3Deployment at each of its reconciles, and all
that serve a checkpoint in the same way."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from pydantic_core import to_json

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.settings import Settings

_MOST = 1024
"""Plans that are kept: hundreds of models, each on a few kinds of nodes. One has some KiB."""


class Plans:
    """`make_plan`, remembered. Its answers are not to be changed: whoever asks next has the same."""

    def __init__(self) -> None:
        self._plans: OrderedDict[bytes, Plan] = OrderedDict()

    def make(
        self,
        weights: Weights,
        spec: Qwen3DeploymentSpec,
        settings: Settings,
        nodes: Sequence[NodeGpus],
        template_hash: str,
        *,
        chosen_length: int | None = None,
        middleware: bool = True,
    ) -> Plan:
        """The plan for `spec`; `make_plan` says what each word means."""
        question = (weights, spec, settings, nodes, template_hash, chosen_length, middleware)
        asked = hashlib.sha256(to_json(question)).digest()
        self._plans[asked] = plan = self._plans.pop(asked, None) or make_plan(
            weights, spec, settings, nodes, template_hash, chosen_length=chosen_length, middleware=middleware
        )
        if len(self._plans) > _MOST:
            self._plans.popitem(last=False)
        return plan
