"""The keys of the teams: a mounted Secret, one file a key.

The file's name up to the first dot is the team's: `team-a` and `team-a.2` are two keys of one team, and so a key is
changed while both are known.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from qwen3_in_engine.server.log import log
from qwen3_in_engine.server.mounted import Mounted

LONGEST_KEY = 4096
MOST_KEYS = 10_000
MOST_NAMES = 20
"""Names that a line of the log has at most."""
Headers = Iterable[tuple[bytes, bytes]]


class NoKeys(Exception):
    """There is no key by which anybody could get in."""


class Keys:
    """Knows the team of a request by its key. Keys come and go with the Secret; none are kept as they are.

    Found by a digest with a secret of this process: from the time that it takes a stranger learns nothing about a key,
    however many there are.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Raises NoKeys."""
        self._mounted = Mounted(folder, now)
        self._secret = os.urandom(32)
        self._teams: dict[bytes, str] = {}
        self._refresh()
        if not self._teams:
            raise NoKeys("the Secret of auth.keys has no key that can be used, so nobody could get in")

    @property
    def teams(self) -> set[str]:
        """All that have a key."""
        return set(self._teams.values())

    def team_of(self, headers: Headers) -> str | None:
        """The team whose key a request has; None for a stranger."""
        self._refresh()
        found = (self._teams.get(self._digest(key)) for key in _keys_in(headers))
        return next(filter(None, found), None)

    def _digest(self, key: bytes) -> bytes:
        return hmac.digest(self._secret, key, "sha256")

    def _refresh(self) -> None:
        if not self._mounted.changed():
            return
        try:
            found = dict(_read(self._mounted.folder))
        except OSError as error:  # changed again while it was read: the keys of before hold until the next read
            log(f"the keys cannot be read: {error.strerror}")
            self._mounted.forget()
            return
        teams: dict[bytes, str] = {}
        for name, key in found.items():
            team = name.partition(".")[0]
            if teams.setdefault(self._digest(key), team) != team:
                log(f"key {name} is not used: {teams[self._digest(key)]} has the same")
        self._teams = teams
        names = sorted(self.teams)
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        log(f"{len(teams)} keys are known, of {', '.join(names[:MOST_NAMES]) or 'nobody'}{more}")


def _keys_in(headers: Headers) -> Iterator[bytes]:
    """What a client may send: OpenAI's header, or Anthropic's."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer" and key.strip():
                yield key.strip()
        elif name == b"x-api-key" and value.strip():
            yield value.strip()


def _read(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and key of each file. Raises OSError."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("..") and entry.is_file())
    for name in names[:MOST_KEYS]:
        with (folder / name).open("rb") as file:
            key = file.read(LONGEST_KEY + 1).strip()
        if wrong := _fault(name, key):
            log(f"key {name} is not used: {wrong}")
        else:
            yield name, key
    if len(names) > MOST_KEYS:
        log(f"{len(names) - MOST_KEYS} keys are not used: {MOST_KEYS} are the most")


def _fault(name: str, key: bytes) -> str:
    if name.startswith("."):
        return "its name has no team before the dot"
    if not key:
        return "it is empty"
    if len(key) > LONGEST_KEY:
        return f"it has more than {LONGEST_KEY} bytes"
    return "it has a space or a line break inside" if len(key.split()) > 1 else ""
