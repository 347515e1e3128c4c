"""Whether this pod's engine answers as its model: asked once, before it has the first line, as a server is before it
gets users."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from qwen3_in_engine.batch_runner.contract import WRONG_ANSWERS, Config, Stop
from qwen3_in_engine.batch_runner.engine import EngineDied, Server, started
from qwen3_in_engine.batch_runner.lines import CHAT
from qwen3_in_engine.batch_runner.report import say
from qwen3_in_engine.verify.answer import Answer
from qwen3_in_engine.verify.checks import WrongAnswer, verify
from qwen3_in_engine.verify.wanted import Verify

NOT_THERE = 404
REMEDY = "correct what it names (spec.verify.mode Off answers all the same)"


async def first_server(make: Callable[[], Server], config: Config) -> Server:
    """The first server that is asked, ready and seen to be right. Raises Stop, and leaves nothing running then."""
    server = await started(make())
    if config.verify is None:
        return server
    try:
        await _check(server, config.verify, chats=config.chat)
    except EngineDied:
        # No line is suspected: none was with it. If it dies of every question, the lines will show it.
        say({"event": "not verified", "message": "the engine died of it, and is started again"})
        await server.end()
        return await started(make())
    except BaseException:
        await server.end()
        raise
    return server


async def _check(server: Server, wanted: Verify, *, chats: bool) -> None:
    """Raises Stop where the server is wrong, EngineDied. What could not be asked is only logged. `chats`: whether the
    batch uses the chat template; where it does not, the model needs none."""
    began = time.monotonic()

    async def ask(method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        reply = await server.insist(method, path, b"" if body is None else json.dumps(body).encode())
        needless = path == CHAT and not chats and reply.status == 400
        return replace(reply, status=NOT_THERE) if needless else reply

    try:
        report = await verify(wanted, ask)
    except WrongAnswer as error:
        words = f"the engine does not answer as its model: {error}: {REMEDY}"
        raise Stop(WRONG_ANSWERS, "AnswersWrong", words) from error
    except EngineDied:
        raise
    except Exception as error:  # ours: no reason to answer nothing
        say({"event": "not verified", "message": repr(error)})
    else:
        say({"event": "verified", "seconds": round(time.monotonic() - began, 1), "message": report.words()})
    server.meter.begin(await server.metrics())
