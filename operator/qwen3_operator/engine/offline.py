"""The arguments of vLLM's offline engine, from the command line of a server."""

from __future__ import annotations

from collections.abc import Sequence

SERVER_FLAGS = frozenset(
    {
        *("--served-model-name", "--host", "--port", "--middleware", "--lora-modules", "--shutdown-timeout"),
        *("--reasoning-parser", "--enable-reasoning", "--enable-auto-tool-choice", "--tool-call-parser"),
        *("--disable-access-log-for-endpoints", "--disable-log-requests"),
        # The runner renders chats and resolves sampling line by line.
        *("--chat-template", "--default-chat-template-kwargs", "--override-generation-config"),
    }
)
"""Flags of the commands made here that vLLM's EngineArgs do not have, or that are the batch runner's own."""


def engine_arguments(serve: Sequence[str]) -> list[str]:
    """`vllm serve PATH ...` without what is only for servers, as words for vLLM's EngineArgs."""
    words = ["--model", serve[2]]
    keep = True
    for word in serve[3:]:
        if word.startswith("--"):
            keep = word.partition("=")[0].replace("_", "-") not in SERVER_FLAGS
        if keep:
            words.append(word)
    return words
