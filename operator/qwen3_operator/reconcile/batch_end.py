"""The end of a Qwen3Batch: what a failed Job finished is delivered, and one that found no room goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qwen3_in_engine.batch_runner.contract import DIED, EXPIRED, GIVEN_UP
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, JOBS
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.desired.batch import NO_DEADLINE, output_claim
from qwen3_operator.desired.batch_delivery import delivery_job, delivery_name
from qwen3_operator.desired.batch_outcome import ANNOTATION, outcome_on
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import MANAGER
from qwen3_operator.reconcile.batch_job import BatchJob
from qwen3_operator.reconcile.context import refused
from qwen3_operator.reconcile.pods import pods_of_job, views_of, why_no_pods
from qwen3_operator.status.batch_outcome import failure
from qwen3_operator.status.jobs import job_result

OUTCOME_MANAGER = f"{MANAGER}-outcome"
"""Field manager of what is noted on a Job."""


@dataclass
class BatchEnd(BatchJob):
    """What becomes of a Job that has ended."""

    async def _note_outcome(self, job: Object) -> None:
        """Write on the Job what it has come to: its pods may go, and the status may be lost."""
        outcome = self.view.outcome
        if outcome.reason == Reason.OUTPUT_FULL and not outcome.capacity:
            outcome = replace(outcome, capacity=await self._capacity(job))
        self.view.noted = outcome
        if outcome == outcome_on(job):
            return
        meta = {key: job["metadata"][key] for key in ("namespace", "name", "uid")}
        wanted = {"metadata": meta | {"annotations": {ANNOTATION: outcome.written()}}}
        try:
            answer = await self.context.cluster.apply(JOBS, wanted, manager=OUTCOME_MANAGER)
            self.view.job = self.context.keep(JOBS, answer)
        except ApiError as error:
            self.problems.append(refused(JOBS, meta["name"], error))

    async def _after_end(self, job: Object, spec: Qwen3BatchSpec | None) -> None:
        """Nothing is lost: what is finished is delivered; where only room was missing, the batch goes on with more.
        Its Job is held until it is over, and until its status says so."""
        view = self.view
        if job_result(job) == "Failed":
            reason, message = failure(view.noted, job)
            if view.noted.capacity:
                if spec is not None and await self._has_grown(job, view.noted.capacity):
                    await self._go_on(job, spec)
                    return
            elif reason not in _NOTHING_TO_DELIVER and (view.noted.answered or reason in _AMID_THE_LINES):
                await self._deliver(job, *_words_of_missing(reason, message))
            if not view.is_over:
                await self._keep(NO_DEADLINE)
        elif view.result is None and spec is not None:  # its parts wait for the next Job, not for this one
            await self._keep(spec.ttl_seconds_after_finished)
        assert view.made_from is not None
        if view.result and spec is not None and not view.made_from.serves(spec, self._generation):
            words = "the spec was edited too late: the batch has ended. Make another Qwen3Batch"
            view.warnings.append(Problem(Reason.EDITED_TOO_LATE, words, severity="warning"))

    async def _deliver(self, job: Mapping[str, Any], code: str, why: str) -> None:
        try:
            wanted = delivery_job(job, code, why, self.context.settings)
            there = await self.context.found(JOBS, wanted)
            self.view.delivery = there or await self.context.change(JOBS, None, wanted)
        except ApiError as error:
            self.problems.append(refused(JOBS, delivery_name(job), error))
            self.view.delivery_waits = True
        else:
            await self._observe_delivery(self.view.delivery)

    async def _observe_delivery(self, delivery: Object) -> None:
        if job_result(delivery) is None:
            self.view.delivery_pods = await views_of(self.context, await pods_of_job(self.context, delivery), CONTAINER)
            if not self.view.delivery_pods:
                self.view.delivery_refused = await why_no_pods(self.context, delivery)

    async def _capacity(self, job: Object) -> str:
        """Size of the claim that the Job's output is on; empty where it is on none, and nobody sees it grow."""
        name = output_claim(job)
        if not name:
            return ""
        claim = await self.context.observe(CLAIMS, self._namespace, name) or {}
        return str(((claim.get("status") or {}).get("capacity") or {}).get("storage") or "0")

    async def _has_grown(self, job: Object, full: str) -> bool:
        """Whether the claim of the output is larger than when it was full."""
        try:
            return quantity(await self._capacity(job)) > quantity(full)
        except ValueError:
            return False

    async def _go_on(self, job: Object, spec: Qwen3BatchSpec) -> None:
        """Another Job in the place of one that found no room, which is there until the other can be made."""
        view = self.view
        view.job = view.made_from = None
        view.pods, view.log_tails, view.noted = (), {}, replace(view.noted, reason="", message="", capacity="")
        await self._make_job(spec, job)


_NOTHING_TO_DELIVER = {
    *(Reason.INPUT_NOT_FOUND, Reason.INPUT_NOT_READABLE, Reason.INPUT_EMPTY, Reason.INPUT_CHANGED),
    *(Reason.OUTPUT_EXISTS, Reason.OUTPUT_IN_USE, Reason.OUTPUT_OF_OTHER_SETTINGS, Reason.OUTPUT_NOT_WRITABLE),
    *(Reason.OUTPUT_FULL, Reason.ENGINE_ARGUMENTS_REFUSED),
}
_AMID_THE_LINES = {Reason.DEADLINE_EXCEEDED, Reason.ENGINE_DIED, Reason.ENGINE_STALLED, Reason.SERVER_NOT_REACHABLE}
"""Failures of a Job that has answered lines, whether anybody has heard of them or not."""


def _words_of_missing(reason: Reason, message: str) -> tuple[str, str]:
    """Code and words of the lines that a Job left unanswered which failed so."""
    if reason == Reason.DEADLINE_EXCEEDED:
        return EXPIRED, "spec.activeDeadlineSeconds were over before it was answered"
    code = DIED if reason in (Reason.ENGINE_DIED, Reason.ENGINE_STALLED) else GIVEN_UP
    return code, f"its shard was given up before it was answered: {reason.value}: {message}"
