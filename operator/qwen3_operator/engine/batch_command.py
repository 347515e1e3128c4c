"""The command line of a batch's engine, from that of a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

SOCKET_FLAG = "--uds"
"""The runner asks its server over a Unix socket; where that is it says itself."""
OF_SERVERS = frozenset(
    {
        # The runner's own: a socket, no access log, an end of its own.
        *("--host", "--port", "--shutdown-timeout", "--disable-access-log-for-endpoints"),
        "--middleware",
    }
)
"""Flags of a server that a batch's engine does not have."""
_DECISIVE = frozenset(
    {
        *("--dtype", "--quantization", "--kv-cache-dtype", "--hf-overrides", "--runner", "--task", "--convert"),
        *("--reasoning-parser", "--tool-call-parser", "--default-chat-template-kwargs", "--override-generation-config"),
    }
)
"""Flags that change the model's numbers, or the shape of the answers."""


def engine_command(serve: Sequence[str]) -> list[str]:
    """`vllm serve PATH ...` as a batch starts it."""
    return [*serve[:3], *_filtered(serve[3:], lambda flag: flag not in OF_SERVERS)]


def decisive_words(serve: Sequence[str]) -> list[str]:
    """The words that decide what is answered, apart from extraArgs."""
    return _filtered(serve[3:], lambda flag: flag in _DECISIVE)


def _filtered(words: Sequence[str], keeps: Callable[[str], bool]) -> list[str]:
    found, keep = [], False
    for word in words:
        if word.startswith("--"):
            keep = keeps(word.partition("=")[0].replace("_", "-"))
        if keep:
            found.append(word)
    return found
