"""Tasks that ought to run for ever: the end of one is the end of all."""

from __future__ import annotations

import asyncio

import pytest

from qwen3_operator.controller.tasks import TaskEnded, Tasks


async def for_ever() -> None:
    await asyncio.Event().wait()


class Body:
    """What the tasks run beside: it ends when it is stopped."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.tasks = Tasks(at_end=self.end.set)


async def test_a_task_that_fails_ends_the_others_and_then_the_body(caplog: pytest.LogCaptureFixture) -> None:
    body, fail = Body(), asyncio.Event()
    witness: list[str] = []

    async def fails() -> None:
        await fail.wait()
        raise ValueError("a fault")

    async def other() -> None:
        try:
            await for_ever()
        finally:
            witness.append("stopped")

    with pytest.raises(ValueError, match="a fault"):
        async with body.tasks as tasks:
            tasks.start("the one that fails", fails())
            tasks.start("the other", other())
            await asyncio.sleep(0)
            fail.set()
            await asyncio.wait_for(body.end.wait(), 5)
            await asyncio.sleep(0)
            assert isinstance(tasks.failure, ValueError)
            assert witness == ["stopped"], "at once, however long the body takes"
    assert "the task the one that fails failed: ValueError('a fault'); the process ends" in caplog.text


async def test_a_task_that_returns_ends_all_as_well() -> None:
    body = Body()
    with pytest.raises(TaskEnded, match="the brief one returned"):
        async with body.tasks as tasks:
            tasks.start("the brief one", asyncio.sleep(0))
            await asyncio.wait_for(body.end.wait(), 5)


async def test_a_task_that_somebody_cancels_ends_all_as_well() -> None:
    body = Body()
    with pytest.raises(TaskEnded, match="was cancelled"):
        async with body.tasks as tasks:
            tasks.start("victim", for_ever())
            (task,) = (t for t in asyncio.all_tasks() if t.get_name() == "victim")
            task.cancel()
            await asyncio.wait_for(body.end.wait(), 5)


async def test_what_is_no_exception_passes_as_it_is() -> None:
    class Crash(BaseException):
        pass

    async def crash() -> None:
        raise Crash

    body = Body()
    with pytest.raises(Crash):
        async with body.tasks as tasks:
            tasks.start("crash", crash())
            await asyncio.wait_for(body.end.wait(), 5)


async def test_a_body_that_ends_ends_its_tasks_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    body = Body()
    async with body.tasks as tasks:
        tasks.start("one", for_ever())
        await tasks.cancel()
        assert not {t for t in asyncio.all_tasks() if t.get_name() == "one"}
    assert tasks.failure is None and not body.end.is_set() and not caplog.records


async def test_a_body_that_fails_says_so_itself() -> None:
    body = Body()
    with pytest.raises(KeyError):
        async with body.tasks as tasks:
            tasks.start("one", for_ever())
            raise KeyError("the body's own")


async def test_a_task_that_resists_its_end_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def resists() -> None:
        try:
            await for_ever()
        finally:
            raise OSError("not so fast")

    async with Body().tasks as tasks:
        tasks.start("resistance", resists())
        await asyncio.sleep(0)
    assert "the task resistance failed while it was ended: OSError('not so fast')" in caplog.text
