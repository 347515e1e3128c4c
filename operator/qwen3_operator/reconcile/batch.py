"""Reconciling a Qwen3Batch: shared model, ConfigMap, Job, status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from qwen3_in_engine.batch_runner.contract import PROGRESS_SECONDS
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.controller.kinds import JOBS
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.desired.batch import nodes_of
from qwen3_operator.desired.batch_delivery import delivery_name
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.naming import QWEN3_BATCHES
from qwen3_operator.reconcile.batch_end import BatchEnd
from qwen3_operator.reconcile.batch_job import jobs_of
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.holders import settle
from qwen3_operator.reconcile.key import Key
from qwen3_operator.reconcile.models import note_models
from qwen3_operator.reconcile.pods import pods_of_job, views_of, why_no_pods
from qwen3_operator.reconcile.reconciliation import observed, undecodable
from qwen3_operator.reconcile.requeue import EVENT_SECONDS, TROUBLE_SECONDS
from qwen3_operator.status.accepted import unreadable
from qwen3_operator.status.batch import batch_status, has_ended, is_over, status_at_rest
from qwen3_operator.status.jobs import job_result, lacks_pods

LOG_LINES = 20
LOG_BYTES = 16 * 1024
"""Of those lines: room for a progress line among vLLM's own."""
LOGS_A_RECONCILE = 32
"""Shards whose logs are read in one reconcile; more than that take turns."""


async def reconcile_batch(context: Context, key: Key) -> Requeue | float | None:
    """Reconcile one Qwen3Batch. Returns the seconds after which to reconcile again, None for the resync."""
    obj = observed(context, QWEN3_BATCHES, key)
    if obj is None:
        return None
    it = _Reconciliation(context, obj)
    status = obj.get("status") or {}
    if it.is_at_rest():
        await it.rest()
        return None
    spec = it.read_spec()
    await it.act(spec)
    labels = obj["metadata"].get("labels") or {}
    status = batch_status(spec, labels, obj["metadata"]["generation"], status, it.view)
    await it.let_go(over=is_over(status))
    await context.write_status(QWEN3_BATCHES, obj, status, [view.pod for view in it.view.pods])
    if is_over(status):
        await it.keep_for(spec)
    return it.requeue_after()


@dataclass
class _Reconciliation(BatchEnd):
    def is_at_rest(self) -> bool:
        """Whether the batch is over, and its status says so. While its Job is there that is asked, and the status is
        believed where it says the same; then the status is all that is left."""
        status, jobs = self._status, jobs_of(self.context, self.obj)
        if not jobs:
            return has_ended(status)
        delivery = self.context.own(JOBS, self._namespace, delivery_name(jobs[0]), jobs[0]["metadata"]["uid"])
        recorded = status.get("job") or {}
        return (
            is_over(status)
            and recorded["result"] == job_result(jobs[0])
            and (delivery is None or recorded.get("delivery") == job_result(delivery))
        )

    def read_spec(self) -> Qwen3BatchSpec | None:
        """The spec; None, and a problem, where it cannot be read."""
        if problem := undecodable(self.obj):
            self.problems.append(problem)
            return None
        try:
            return Qwen3BatchSpec.model_validate(self.obj["spec"])
        except ValidationError as error:
            self.problems.append(unreadable(error.errors()))
            return None

    async def act(self, spec: Qwen3BatchSpec | None) -> None:
        """Bring model and Job to where they should be, and observe what came of it. The Job comes first: while it
        serves the spec, or has ended, nothing is resolved anew."""
        jobs = jobs_of(self.context, self.obj)
        if jobs:
            self._take(jobs[0], spec)
        if job_result(self.view.job):
            if spec is None:
                self.problems.clear()  # its result stays, whatever the spec says by now
        elif spec is None:
            pass  # what runs goes on
        elif self.view.made_from is not None and self.view.made_from.serves(spec, self._generation):
            await self._adjust(spec)
        else:
            await self._make_job(spec)
        if self.view.job is not None:
            await self._observe_pods(self.view.job)
            await self._note_outcome(self.view.job)
            if job_result(self.view.job):
                await self._after_end(self.view.job, spec)
        if self.view.job is not None and spec is not None:
            await self._keep_config(self.view.job, spec)

    async def rest(self) -> None:
        """Nothing is left to do for a batch that is over, but to keep its Job for as long as it says now."""
        if jobs := jobs_of(self.context, self.obj):
            self.view.job = jobs[0]
            await self.keep_for(self.read_spec())
        await self.let_go(over=True)
        await self.context.write_status(
            QWEN3_BATCHES, self.obj, status_at_rest(self._status, self._generation), pods=()
        )

    async def keep_for(self, spec: Qwen3BatchSpec | None) -> None:
        """Keep the Job of a batch that is over for as long as the spec says: what it came to is in the status."""
        if spec is not None and self.view.job is not None:
            await self._keep(spec.ttl_seconds_after_finished)

    async def let_go(self, *, over: bool) -> None:
        """Release every model but those that the Job runs on or the spec asks for; all, once the batch is over."""
        made = self.view.made_from.model.get("name") if self.view.made_from else None
        keep = set() if over else {str(name) for name in (made, self.wanted_name) if name}
        if over or keep:  # where neither is known (the deploymentRef is not there, say) nothing is released
            note_models(self.context, QWEN3_BATCHES, self.obj, keep)
            await settle(self.context, QWEN3_BATCHES, self.obj, keep)

    def requeue_after(self) -> Requeue | float | None:
        """When it is reconciled again, where no watch brings the news."""
        view = self.view
        if self.problems or self.waits_for_deletion or (view.plan is not None and not view.plan.engine.servable):
            return Requeue(TROUBLE_SECONDS, trouble=True)
        if view.log_tails:
            return PROGRESS_SECONDS
        if view.noted.capacity or view.servers_missing is not None:
            return TROUBLE_SECONDS
        job, pods, refused = view.job, view.pods, view.pods_refused
        if view.delivery is not None:
            job, pods, refused = view.delivery, view.delivery_pods, view.delivery_refused
        if lacks_pods(job) and not pods:
            return Requeue(TROUBLE_SECONDS if refused else EVENT_SECONDS, trouble=True)
        return TROUBLE_SECONDS if job is not None and job_result(job) is None and pods else None

    async def _observe_pods(self, job: Mapping[str, Any]) -> None:
        view = self.view
        view.pods = await views_of(self.context, await pods_of_job(self.context, dict(job)), CONTAINER)
        if not view.pods:
            view.pods_refused = await why_no_pods(self.context, dict(job))
        if self.context.settings.read_cluster and any(pod.unplaced for pod in view.pods):
            view.gpus_by_node = {node: gpus.count for node, gpus in self.context.nodes.gpus(*nodes_of(job)).items()}
        running = sorted(pod.name for pod in view.pods if pod.pod.get("status", {}).get("phase") == "Running")
        read = _whose_turn(running, view.now.timestamp())
        logs = self.context.cluster.logs
        tails = await asyncio.gather(
            *(logs(self._namespace, name, CONTAINER, tail=LOG_LINES, limit=LOG_BYTES) for name in read)
        )
        view.log_tails = dict(zip(read, tails, strict=True))


def _whose_turn(names: Sequence[str], seconds: float) -> Sequence[str]:
    """Of many pods those whose logs are read at this time."""
    turns = -(-len(names) // LOGS_A_RECONCILE) or 1
    return names[int(seconds / PROGRESS_SECONDS) % turns :: turns]
