"""Who gets in: the team of each request, what it may have now, and what it had."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qwen3_in_engine.server.accounts import STRANGER, Accounts, accounts
from qwen3_in_engine.server.asgi import App, Receive, Scope, Send, respond
from qwen3_in_engine.server.contract import KEYS_VARIABLE, LIMITS_VARIABLE
from qwen3_in_engine.server.keys import Keys
from qwen3_in_engine.server.limits import Account, Limits, Refusal
from qwen3_in_engine.server.log import log
from qwen3_in_engine.server.requests import GENERATING
from qwen3_in_engine.server.usage import Usage

OPEN_PATHS = ("/health", "/metrics")
"""Who asks here has no key: load balancers and Prometheus. Nothing but these two, and the probes, is open: vLLM's own
key leaves /invocations, /tokenize and more to everybody."""
WITH_USAGE = (*GENERATING, "/responses", "/embed", "/invocations")
"""Ends of the paths whose good answers say how many tokens they took."""
LONGEST_PATH = 80


def gate_of(environment: Mapping[str, str]) -> Gate | None:
    """The gate that a server is to have; None: everybody gets in, or vLLM asks for its one key. Raises NoKeys."""
    if not (folder := environment.get(KEYS_VARIABLE)):
        return None
    file = environment.get(LIMITS_VARIABLE)
    return Gate(Keys(Path(folder)), Limits(Path(file) if file else None), accounts())


class Gate:
    """Stands before the application."""

    def __init__(
        self, keys: Keys, limits: Limits, accounts: Accounts, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys, self._limits, self._accounts, self._now = keys, limits, accounts, now
        self._teams: dict[str, Account] = {}
        accounts.show(keys.teams)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, app: App) -> None:
        """Serve one request, http or websocket, by `app`, or refuse it."""
        web_socket = scope["type"] == "websocket"
        # A browser asks by OPTIONS whether it may ask, and has no key with it; vLLM answers that alone.
        if not web_socket and (scope["path"] in OPEN_PATHS or scope["method"] == "OPTIONS"):
            await app(scope, receive, send)
            return
        team = self._keys.team_of(scope["headers"])
        if team is None:
            self._accounts.request(STRANGER, "4xx")
            await (_close(receive, send) if web_socket else _unauthorized(send))
            return
        account = self._teams.setdefault(team, Account())
        limit = self._limits.of(team)
        works = web_socket or scope["method"] == "POST"
        if works and (refusal := account.refusal(limit, self._now())):
            self._accounts.limited(team, refusal.limit)
            await (_close(receive, send) if web_socket else _too_much(team, refusal, send))
            return
        usage, began = Usage(scope, receive, send), self._now()
        account.running += works
        try:
            await app(scope, usage.receive, usage.send)
        finally:
            account.running -= works
            self._over(scope, team, account, usage, began)

    def _over(self, scope: Scope, team: str, account: Account, usage: Usage, began: float) -> None:
        if scope["type"] == "websocket":
            self._accounts.request(team, "websocket")
            return
        self._accounts.request(team, _code(usage))
        if scope["method"] != "POST":
            return
        tokens = usage.tokens()
        if tokens is not None or (usage.status == 200 and scope["path"].endswith(WITH_USAGE)):
            self._accounts.tokens(team, tokens)
        if tokens is not None:
            account.charge(sum(tokens), self._limits.of(team), self._now())
        said = "tokens not known" if tokens is None else f"{tokens.prompt} + {tokens.completion} tokens"
        seconds = self._now() - began
        # The path is the client's: as Python writes it, it has no line break.
        log(f"{team} POST {scope['path'][:LONGEST_PATH]!r} {_code(usage)} {said} {seconds:.2f} s")


def _code(usage: Usage) -> str:
    if usage.gone:
        return "aborted"
    return f"{usage.status // 100}xx" if usage.status else "5xx"


async def _unauthorized(send: Send) -> None:
    words = "no key that this server knows: send yours as `Authorization: Bearer KEY`"
    error = {"message": words, "type": "invalid_request_error", "param": None, "code": "invalid_api_key"}
    await _refuse(send, 401, error, ("www-authenticate", "Bearer"))


async def _too_much(team: str, refusal: Refusal, send: Send) -> None:
    words = f"{team} may have {refusal.words} on this server: ask again in {refusal.retry_seconds} s"
    kind = "tokens" if refusal.limit == "tokensPerMinute" else "requests"
    error = {"message": words, "type": kind, "param": None, "code": "rate_limit_exceeded"}
    await _refuse(send, 429, error, ("retry-after", str(refusal.retry_seconds)))


async def _refuse(send: Send, status: int, error: Mapping[str, Any], header: tuple[str, str]) -> None:
    await respond(send, status, json.dumps({"error": error}), "application/json", [header])


async def _close(receive: Receive, send: Send) -> None:
    """Refuse a websocket: the client gets 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1008})
