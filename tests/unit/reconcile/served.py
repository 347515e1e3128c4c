"""One Qwen3Deployment on an API server in memory, brought to where its servers are up."""

from __future__ import annotations

import copy
from typing import Any

from tests.cluster.wrappers import Q3d
from tests.monitoring.operator_at_work import NAMESPACE, SERVED, World, downloaded

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import DEPLOYMENTS, Kind
from qwen3_operator.naming import QWEN3_DEPLOYMENTS


def fails(world: World, kind: Kind, error: ApiError) -> None:
    """From now on the API server answers so whatever is applied, deleted or listed of a kind."""
    for verb in ("apply", "delete", "list"):
        before = getattr(world.cluster, verb)

        async def answer(of: Kind, *words: Any, before: Any = before, **more: Any) -> Any:
            if of == kind:
                raise error
            return await before(of, *words, **more)

        setattr(world.cluster, verb, answer)


class Served(World):
    """The Qwen3Deployment, and what the Deployment's controller does."""

    async def served(self, **spec: Any) -> None:
        """Have it, and bring it to where its servers are ready."""
        self.apply(QWEN3_DEPLOYMENTS, Q3d(SERVED).set(**spec))
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)
        await downloaded(self, self.model_of(SERVED))
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED)
        await self.ready()

    async def ready(self) -> None:
        """Have the Deployment's controller make what is asked for."""
        made = self.changed(DEPLOYMENTS, SERVED)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas"), made["spec"]["replicas"])
        made["status"] = counts | {"observedGeneration": made["metadata"]["generation"]}
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)

    async def change(self, **spec: Any) -> None:
        """Another spec; None takes a field away."""
        obj = self.changed(QWEN3_DEPLOYMENTS, SERVED)
        obj["spec"] = {key: value for key, value in (obj["spec"] | spec).items() if value is not None}
        obj["metadata"]["generation"] += 1
        await self.reconcile(QWEN3_DEPLOYMENTS, SERVED, 2)

    @property
    def server(self) -> dict[str, Any]:
        """The Deployment, as it is now."""
        return copy.deepcopy(self.cluster.objects[DEPLOYMENTS.kind, NAMESPACE, SERVED])
