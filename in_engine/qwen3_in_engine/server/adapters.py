"""LoRA adapters of this server: those that a mounted list names, loaded and taken away as the list changes.

vLLM's own handler does it, called inside the process: its route /v1/load_lora_adapter stays off, by which whoever may
ask the server could have it load any folder. An adapter that vLLM refuses takes nothing from those that it serves.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from qwen3_in_engine.server.contract import ADAPTERS_LINE, ADAPTERS_VARIABLE
from qwen3_in_engine.server.log import log
from qwen3_in_engine.server.mounted import Mounted

MOST_BYTES = 1 << 20
MOST_ADAPTERS = 256
LONGEST_WORDS = 200
NOT_FOUND = 404
MOST_FAILURES = 16
"""Whose words are in one line of the log."""
READ_SECONDS = 2.0
RETRY_SECONDS = 60.0
"""What vLLM refused is tried again so often."""
SAY_SECONDS = 300.0
"""The same line is logged again so often, for who reads only the end of the log."""


def adapters_of(environment: Mapping[str, str]) -> Adapters | None:
    """The adapters that a server is to have; None: it has no list."""
    file = environment.get(ADAPTERS_VARIABLE)
    return Adapters(Path(file)) if file else None


@dataclass(frozen=True)
class Wanted:
    """The list as it was read."""

    version: str
    paths: Mapping[str, str]
    """Name -> folder."""

    @classmethod
    def read(cls, file: Path) -> Wanted:
        """Raises OSError, ValueError."""
        with file.open("rb") as stream:
            given = json.loads(stream.read(MOST_BYTES))
        try:
            paths = {str(it["name"]): str(it["path"]) for it in given["adapters"][:MOST_ADAPTERS]}
            return cls(str(given.get("version", "")), paths)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no list of adapters: {error!r}") from error


class Adapters:
    """Has the server serve just the adapters of the list."""

    def __init__(self, file: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._file, self._now = file, now
        self._mounted = Mounted(file.parent, now)
        self._wanted, self._was_read = Wanted("", {}), False
        self._served: dict[str, str] = {}
        self._failed: dict[str, str] = {}
        self._said: tuple[float, str] = (0.0, "")
        self._tried = 0.0
        self.settled = False
        """Whether each adapter of the list was loaded once, or refused by vLLM: before, a server is not ready."""

    async def watch(self, models: Callable[[], Any]) -> None:
        """Follow the list for ever. `models` gives vLLM's handler of models."""
        while True:
            followed = True
            try:
                followed = await self.follow(models())
            except Exception as error:  # the next try may do better, and the server serves all the same
                log(f"adapters: {error!r}")
            self.settled = self.settled or followed
            await asyncio.sleep(READ_SECONDS)

    async def follow(self, models: Any) -> bool:
        """Bring what is served to what the list says, where one of them changed. Returns whether a list was ever read:
        servers without it must not take the place of those that have it."""
        changed = self._mounted.changed() and self._read()
        again = bool(self._failed) and self._now() - self._tried >= RETRY_SECONDS
        if changed or again:
            self._tried = self._now()
            await self._follow(models)
        self._say()
        return self._was_read

    def _read(self) -> bool:
        try:
            self._wanted = Wanted.read(self._file)
        except (OSError, ValueError) as error:
            log(f"the list of adapters cannot be read, that of before holds: {error!r}"[: 2 * LONGEST_WORDS])
            self._mounted.forget()
            return False
        self._was_read = True
        return True

    async def _follow(self, models: Any) -> None:
        wanted = self._wanted.paths
        self._failed = {}
        for name in [name for name in self._served if name not in wanted]:
            if await self._try(name, models.unload_lora_adapter, _unload(name)):
                self._served.pop(name)
        for name, path in wanted.items():
            if self._served.get(name) == path:
                continue
            # In the place of another folder under this name: requests that come meanwhile find one or the other.
            in_place = name in self._served
            if await self._try(name, models.load_lora_adapter, _load(name, path, in_place=in_place)):
                self._served[name] = path
                if in_place:  # some releases know what is cached by the adapter's name alone
                    with suppress(Exception):
                        await models.engine_client.reset_prefix_cache()

    async def _try(self, name: str, handler: Callable[[Any], Awaitable[Any]], request: Any) -> bool:
        try:
            answer = await handler(request)
        except Exception as error:
            answer = error
        said = getattr(answer, "error", None)
        # What is to be unloaded and is not there is gone, as it was to be.
        gone = name not in self._wanted.paths and getattr(said or answer, "code", None) == NOT_FOUND
        if isinstance(answer, str) or gone:
            return True
        words = getattr(said, "message", None) or repr(answer)
        self._failed[name] = " ".join(str(words).split())[:LONGEST_WORDS]
        return False

    def _say(self) -> None:
        failed = dict(list(self._failed.items())[:MOST_FAILURES])
        words = json.dumps({"version": self._wanted.version, "served": sorted(self._served), "failed": failed})
        at, before = self._said
        if words != before or self._now() - at >= SAY_SECONDS:
            self._said = (self._now(), words)
            log(f"{ADAPTERS_LINE} {words}")


def _load(name: str, path: str, *, in_place: bool) -> Any:
    """As vLLM's LoadLoRAAdapterRequest, which has been in another module in each release."""
    return SimpleNamespace(lora_name=name, lora_path=path, load_inplace=in_place, is_3d_lora_weight=False)


def _unload(name: str) -> Any:
    return SimpleNamespace(lora_name=name, lora_int_id=None)
