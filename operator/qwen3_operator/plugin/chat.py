"""`kubectl qwen3 chat`: talk to a server. Ctrl-C ends an answer, Ctrl-D the program."""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qwen3_operator.controller.kinds import SECRETS
from qwen3_operator.plugin.api import Api, ApiFailure, Object
from qwen3_operator.plugin.failure import BAD_INPUT, Failure
from qwen3_operator.plugin.find import find
from qwen3_operator.plugin.forward import Broken, Server, forwarded
from qwen3_operator.plugin.names import NOT_SEEN, QWEN3_DEPLOYMENTS
from qwen3_operator.plugin.objects import condition
from qwen3_operator.plugin.show import clean, console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from qwen3_operator.plugin.kubectl import Kubectl

KEY_VARIABLE = "QWEN3_API_KEY"
DEFAULT_PORT = 8000
MOST_INPUT = 4 * 2**20
THINKING: dict[str, bool | None] = {"on": True, "off": False, "auto": None}
HELP = """\
/think on|off|auto   whether the model thinks first (auto: as the server is set)
/system TEXT         the system prompt; empty: none
/new                 forget what was said
/help, /quit         Ctrl-C ends an answer, Ctrl-D the program"""


@dataclass(frozen=True)
class Endpoint:
    """Where a Qwen3Deployment answers."""

    namespace: str
    name: str
    port: int
    key: str = ""


@dataclass
class Talk:
    """What was said so far, and how it goes on."""

    model: str
    thinking: bool | None = None
    system: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    said: list[dict[str, str]] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """The request for the next answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [*system, *self.said],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": self.thinking}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            body["temperature"] = self.temperature
        return body

    def command(self, line: str) -> str | None:
        """Obey a line that begins with '/'; what to print, None to end."""
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        if word in ("/quit", "/exit"):
            return None
        if word == "/new":
            self.said.clear()
            return "what was said is forgotten"
        if word == "/system":
            self.system = rest
            return "the system prompt is set" if rest else "no system prompt"
        if word == "/think" and rest in THINKING:
            self.thinking = THINKING[rest]
            return f"thinking: {rest}"
        return HELP


@dataclass
class Answer:
    """One answer."""

    reasoning: str = ""
    content: str = ""
    tokens: int = 0
    finish_reason: str = ""


def endpoint(api: Api, namespace: str, name: str, environment: dict[str, str]) -> Endpoint:
    """Where it answers, and the key that it wants. Raises Failure."""
    _, obj = find(api, namespace, name, [QWEN3_DEPLOYMENTS])
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    if not status.get("readyReplicas"):
        ready = condition(obj, "Ready")
        words = f"{ready.get('reason', NOT_SEEN)}: {clean(ready.get('message', ''))}"
        raise Failure(f"{meta['name']} has no server that is ready: {words} (kubectl qwen3 status {meta['name']})")
    port = int((spec.get("service") or {}).get("port") or DEFAULT_PORT)
    return Endpoint(meta["namespace"], meta["name"], port, _key(api, obj, environment))


def _key(api: Api, obj: Object, environment: dict[str, str]) -> str:
    if given := environment.get(KEY_VARIABLE):
        return given
    reference = ((obj.get("spec") or {}).get("auth") or {}).get("apiKeySecretRef")
    if not reference:
        return ""
    namespace, name, key = obj["metadata"]["namespace"], reference["name"], reference["key"]
    try:
        secret = api.find(SECRETS, namespace, name)
    except ApiFailure as failure:
        if not failure.forbidden:
            raise
        raise Failure(
            f"it wants a key, and you may not read Secret {name}: put the key into {KEY_VARIABLE}"
        ) from failure
    try:
        return base64.b64decode(((secret or {}).get("data") or {})[key], validate=True).decode().strip()
    except (KeyError, ValueError, binascii.Error) as error:
        raise Failure(f"Secret {name} has no key {key} that can be read: put the key into {KEY_VARIABLE}") from error


def run(arguments: argparse.Namespace, kubectl: Kubectl, where: Endpoint) -> int:
    """Talk until there is nothing more to say. Raises Failure."""
    once = _question(arguments)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(forwarded(kubectl, where.namespace, where.name, where.port))
        server = Server(port, where.key)
        names = server.models()
        if not names:
            raise Failure(f"{where.name} names no model")
        talk = Talk(
            names[0],
            THINKING[arguments.thinking],
            arguments.system,
            max_tokens=arguments.max_tokens,
            temperature=arguments.temperature,
        )
        if once is not None:
            return _once(server, talk, once, arguments)

        def reconnect() -> Server:
            stack.close()
            return Server(stack.enter_context(forwarded(kubectl, where.namespace, where.name, where.port)), where.key)

        converse(server, talk, console(), input, reconnect)
    return 0


def _question(arguments: argparse.Namespace) -> str | None:
    """The one question of the command line or of a pipe; None for a conversation."""
    if arguments.prompt is not None:
        return str(arguments.prompt)
    if arguments.output == "json":
        raise Failure("-o json goes with --prompt, or with a question in a pipe", BAD_INPUT)
    if sys.stdin.isatty():
        return None
    return _piped()


def _piped() -> str:
    words = sys.stdin.read(MOST_INPUT + 1)
    if len(words) > MOST_INPUT:
        raise Failure(f"the question has more than {MOST_INPUT} characters", BAD_INPUT)
    if not words.strip():
        raise Failure("the pipe holds no question", BAD_INPUT)
    return words


def _once(server: Server, talk: Talk, question: str, arguments: argparse.Namespace) -> int:
    talk.said.append({"role": "user", "content": question})
    out = console()
    quiet = arguments.output == "json"
    answer = Answer()
    show_answer(server, talk, answer, None if quiet else out, reasoning=out.is_terminal)
    if quiet:
        print_json(answer)
    return 0


def converse(
    server: Server, talk: Talk, out: Console, ask: Callable[[str], str], reconnect: Callable[[], Server]
) -> None:
    """Question and answer until the end of the input. Raises Failure where no server comes back."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - lines can be edited, and those before come back

    out.print(f"{talk.model}. /help tells more; Ctrl-C ends an answer, Ctrl-D the program.", style="dim")
    while True:
        try:
            line = ask("> ").strip()
        except KeyboardInterrupt:
            out.print()
            continue
        except EOFError:
            out.print()
            return
        if line.startswith("/"):
            if (words := talk.command(line)) is None:
                return
            out.print(words, style="dim")
        elif line:
            server = _answered(server, talk, line, out, reconnect)


def _answered(server: Server, talk: Talk, line: str, out: Console, reconnect: Callable[[], Server]) -> Server:
    """One answer; returns the server that is asked next."""
    talk.said.append({"role": "user", "content": line})
    answer = Answer()
    try:
        show_answer(server, talk, answer, out, reasoning=True)
    except KeyboardInterrupt:
        out.print("\n(stopped)", style="dim")
    except Broken as broken:
        out.print(f"({broken}; connecting anew: ask again)", style="yellow")
        server = reconnect()
    except Failure as failure:
        out.print(f"({failure})", style="yellow")
    if answer.content:
        talk.said.append({"role": "assistant", "content": answer.content})  # never the reasoning: templates drop it
    else:
        talk.said.pop()
    return server


def show_answer(server: Server, talk: Talk, answer: Answer, out: Console | None, *, reasoning: bool) -> None:
    """Print the answer as it comes, reasoning dimmed, and keep it in `answer`. Raises Failure."""
    thought = False
    with contextlib.closing(server.chat(talk.body())) as pieces:
        for piece in pieces:
            if piece.kind == "error":
                raise Failure(clean(piece.text))
            if piece.kind == "reasoning":
                answer.reasoning += piece.text
                thought = True
                if out and reasoning:
                    out.print(clean(piece.text), style="dim italic", end="", soft_wrap=True)
            elif piece.kind == "content":
                text = piece.text if answer.content else piece.text.lstrip("\n")
                answer.content += text
                if out:
                    if thought and reasoning:
                        out.print("\n")
                    out.print(clean(text), end="", soft_wrap=True)
                thought = False
            elif piece.kind == "end":
                answer.finish_reason = piece.text
            else:
                answer.tokens = piece.tokens
    if out:
        out.print()
        if answer.finish_reason == "length":
            print("(cut: the longest answer was reached)", file=sys.stderr)


def environment() -> dict[str, str]:
    """Variables of this process."""
    return dict(os.environ)
