"""The end of a Qwen3Batch: what a failed Job finished is delivered, and one that found no room goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qwen3_in_engine.batch_runner.contract import DIED, EXPIRED, GIVEN_UP
from qwen3_operator.api.batch import ClaimFile, Qwen3BatchSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import CLAIMS, JOBS
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.desired.batch_delivery import delivery_job, delivery_name
from qwen3_operator.engine.problem import Problem
from qwen3_operator.reconcile.batch_job import BatchJob
from qwen3_operator.reconcile.context import refused
from qwen3_operator.status.batch import failure
from qwen3_operator.status.jobs import job_result


@dataclass
class BatchEnd(BatchJob):
    """What becomes of a Job that has ended."""

    async def _keep_result(self, spec: Qwen3BatchSpec | None) -> None:
        """The Job has ended: its result stays, whatever the spec says by now."""
        assert self.view.made_from is not None
        if spec is None:
            self.problems.clear()
            return
        if not self.view.made_from.serves(spec, self._generation):
            words = "the spec was edited too late: the batch has ended. Make another Qwen3Batch"
            self.view.warnings.append(Problem(Reason.EDITED_TOO_LATE, words, severity="warning"))
        if job_result(self.view.job) == "Complete":
            await self._adjust(spec)

    async def _after_failure(self, job: Mapping[str, Any], spec: Qwen3BatchSpec | None) -> None:
        """Nothing is lost: what is finished is delivered; where only room was missing, the batch goes on with more."""
        reason, message = failure(self.view)
        full = reason == Reason.OUTPUT_FULL or "outputCapacity" in self._status
        if full and spec is not None:
            if await self._has_grown(spec.output.claim):
                await self._go_on(job, spec)
                return
        elif reason not in _NOTHING_TO_DELIVER and (self._status.get("requests") or reason in _AMID_THE_LINES):
            await self._deliver(job, *_words_of_missing(reason, message))
        if spec is not None:
            await self._adjust(spec, hold=not self.view.is_over)

    async def _deliver(self, job: Mapping[str, Any], code: str, why: str) -> None:
        try:
            self.view.delivery = await self.context.observe(JOBS, self._namespace, delivery_name(job))
            if self.view.delivery is None:
                wanted = delivery_job(job, code, why, self.context.settings)
                self.view.delivery = await self.context.change(JOBS, None, wanted)
        except ApiError as error:
            self.problems.append(refused(JOBS, delivery_name(job), error))

    async def _has_grown(self, output: ClaimFile) -> bool:
        """Whether the claim of the output is larger than when it was full."""
        claim = await self.context.observe(CLAIMS, self._namespace, output.name) or {}
        now = str(((claim.get("status") or {}).get("capacity") or {}).get("storage") or "0")
        self.view.output_capacity = full = str(self._status.get("outputCapacity") or now)
        try:
            return quantity(now) > quantity(full)
        except ValueError:
            return False

    async def _go_on(self, job: Mapping[str, Any], spec: Qwen3BatchSpec) -> None:
        """Another Job in the place of one that found no room."""
        await self.context.delete(JOBS, dict(job))
        self.view.job = self.view.made_from = None
        self.view.output_capacity, self.view.pods, self.view.log_tails = "", (), {}
        await self._make_job(spec)


_NOTHING_TO_DELIVER = {
    *(Reason.INPUT_NOT_FOUND, Reason.INPUT_NOT_READABLE, Reason.INPUT_EMPTY, Reason.INPUT_CHANGED),
    *(Reason.OUTPUT_EXISTS, Reason.OUTPUT_IN_USE, Reason.OUTPUT_OF_OTHER_SETTINGS, Reason.OUTPUT_NOT_WRITABLE),
    *(Reason.OUTPUT_FULL, Reason.ENGINE_ARGUMENTS_REFUSED),
}
_AMID_THE_LINES = {Reason.DEADLINE_EXCEEDED, Reason.ENGINE_DIED, Reason.ENGINE_STALLED, Reason.SERVER_NOT_REACHABLE}
"""Failures of a Job that has answered lines, whether the status has heard of them or not."""


def _words_of_missing(reason: Reason, message: str) -> tuple[str, str]:
    """Code and words of the lines that a Job left unanswered which failed so."""
    if reason == Reason.DEADLINE_EXCEEDED:
        return EXPIRED, "spec.activeDeadlineSeconds were over before it was answered"
    code = DIED if reason in (Reason.ENGINE_DIED, Reason.ENGINE_STALLED) else GIVEN_UP
    return code, f"its shard was given up before it was answered: {reason.value}: {message}"
