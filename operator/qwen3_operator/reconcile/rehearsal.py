"""What the API server would say to a child that is not made yet: a refusal is in the status before a download of hours,
not after it.

Held in memory, so that it is not asked at every reconcile; a new process asks once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.reconcile.key import Key

AGAIN_SECONDS = 60.0
"""What was not taken is asked for again after so long: a policy may have changed."""
ANSWER_SECONDS = 3.0
"""A webhook that hangs must not hold the reconcile."""


class Rehearsal(NamedTuple):
    """One answer."""

    digest: str
    """Of what was asked for."""
    at: datetime
    taken: bool
    """Whether it would be made."""
    refusal: ApiError | None
    """Why not; where there was no answer, why it was refused before."""


class Rehearsals:
    """The last answer for each object of ours that waits to make its child."""

    def __init__(self) -> None:
        self._last: dict[Key, Rehearsal] = {}

    async def ask(self, user: Key, digest: str, now: datetime, question: Callable[[], Awaitable[None]]) -> Rehearsal:
        """The answer for what has this `digest`. `question` asks the API server, and raises its ApiError; what was
        taken once is not asked again."""
        last = self._last.get(user)
        if last is not None and last.digest != digest:
            last = None
        if last is not None and (last.taken or (now - last.at).total_seconds() < AGAIN_SECONDS):
            return last
        taken, refusal = False, last.refusal if last is not None else None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await question()
            taken, refusal = True, None
        except TimeoutError:
            pass
        except ApiError as error:
            if error.status == 400 and "does not support dry run" in error.message:  # somebody's webhook
                taken, refusal = True, None
            elif error.final:
                refusal = error
        self._last[user] = answer = Rehearsal(digest, now, taken, refusal)
        return answer

    def forget(self, user: Key) -> None:
        """`user` is gone."""
        self._last.pop(user, None)
