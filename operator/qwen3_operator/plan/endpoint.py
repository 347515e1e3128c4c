"""Where the token of a model may be sent: never over http:// nor to a hub that the administrator did not list.

Whoever may name a Secret and an address could otherwise have any Secret of the namespace sent there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.source import ModelSource
from qwen3_operator.engine.problem import Problem
from qwen3_operator.settings import ANY, Settings

REASONS = frozenset({"InsecureEndpoint", "EndpointNotAllowed"})
FIELD = "spec.model.endpoint"
# Stricter than a URL: what two parsers might read in two ways (a user, a backslash) is no address for a token.
_ADDRESS = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?"
    r"(?P<path>/[A-Za-z0-9._~%/+-]*)?",
    re.IGNORECASE,
)
_PORTS = {"http": 80, "https": 443}
_SHOWN = 5
"""Listed hubs that a message names."""


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of an address; `scheme` is empty in an entry that names none."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        port = "" if self.port in (None, _PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    def meets(self, entry: str) -> bool:
        """Whether an entry of a setting names this origin. Without a port it names the scheme's own."""
        named = origin(entry)
        if named is None:
            return False
        port = named.port or _PORTS[self.scheme]
        return named.host == self.host and port == self.port and named.scheme in ("", self.scheme)


def origin(address: str) -> Origin | None:
    """The origin of an address or of an entry; None for what is neither."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return None
    scheme = (match["scheme"] or "").lower()
    port = int(match["port"]) if match["port"] else _PORTS.get(scheme)
    return Origin(scheme, match["host"].lower().rstrip("."), port)


def hub_of(source: ModelSource, settings: Settings) -> str:
    """Base URL of the hub that `source` is downloaded from."""
    return source.endpoint or settings.hub_endpoint


def check_endpoint(source: ModelSource, settings: Settings, field: str = FIELD) -> list[Problem]:
    """A problem of `field` where the token of `source` may not be sent to its hub; nothing where it has no token."""
    if source.token_secret_ref is None:
        return []
    hub = hub_of(source, settings)
    target = origin(hub)
    if target is None or not target.scheme:
        words = f"no token is sent to {hub}: write https://HOST, with port and path where it has them, and nothing else"
        return [Problem(Reason.ENDPOINT_NOT_ALLOWED, words, field)]
    if target.scheme == "http" and not _is_listed(target, settings.insecure_endpoints):
        words = (
            f"a token sent to {target} can be read on the way: use https://, or have an administrator add {target} "
            "to the operator's setting insecureEndpoints"
        )
        return [Problem(Reason.INSECURE_ENDPOINT, words, field)]
    if settings.token_endpoints and not _is_listed(target, settings.token_endpoints):
        listed = ", ".join(settings.token_endpoints[:_SHOWN]) + (" …" if len(settings.token_endpoints) > _SHOWN else "")
        words = (
            f"the operator's setting tokenEndpoints does not allow to send a token to {target}, but to {listed}: "
            "name one of these, or have an administrator add it"
        )
        return [Problem(Reason.ENDPOINT_NOT_ALLOWED, words, field)]
    return []


def sends_token_in_clear(source: ModelSource, settings: Settings) -> bool:
    """Whether the administrator lets the token of `source` go to its hub over http://."""
    target = origin(hub_of(source, settings))
    has_token = source.token_secret_ref is not None and not check_endpoint(source, settings)
    return has_token and target is not None and target.scheme == "http"


def _is_listed(target: Origin, entries: tuple[str, ...]) -> bool:
    return ANY in entries or any(target.meets(entry) for entry in entries)
