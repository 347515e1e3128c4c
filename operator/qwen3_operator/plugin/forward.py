"""A port of this machine that leads to a server, by `kubectl port-forward`, and questions to what answers there."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Generator, Iterator
from typing import Any

from qwen3_operator.plugin.failure import Failure
from qwen3_operator.plugin.kubectl import MOST_WORDS, Kubectl, first_line, in_one_line, running
from qwen3_operator.plugin.stream import LONGEST_LINE, Piece, error_words, pieces

CONNECT_SECONDS = 20.0
SILENCE_SECONDS = 600.0
"""Between two pieces of an answer: a request may wait in the server's queue."""
_LISTENS = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


class Broken(Failure):
    """The connection to the server is gone: another server may answer."""


class Server:
    """The servers of one Qwen3Deployment, as a client sees them."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._headers = port, {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def models(self) -> list[str]:
        """The names by which it is asked. Raises Failure."""
        with self._asked("GET", "/v1/models", None) as answer:
            found = json.loads(answer.read(LONGEST_LINE))
        return [str(model["id"]) for model in found.get("data") or ()]

    def chat(self, body: dict[str, Any]) -> Generator[Piece, None, None]:
        """The answer, piece by piece; when the iterator is closed the server stops. Raises Failure."""
        with self._asked("POST", "/v1/chat/completions", body) as answer:
            try:
                yield from pieces(iter(lambda: answer.readline(LONGEST_LINE), b""))
            except (OSError, http.client.HTTPException) as error:
                raise Broken(f"the server went away: {error}") from error

    @contextlib.contextmanager
    def _asked(self, method: str, path: str, body: dict[str, Any] | None) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SILENCE_SECONDS)
        try:
            sent = json.dumps(body).encode() if body is not None else None
            connection.request(method, path, sent, self._headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise Failure(error_words(answer.status, answer.read(LONGEST_LINE)))
            yield answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Broken(f"no server answered: {error or type(error).__name__}") from error
        finally:
            connection.close()


@contextlib.contextmanager
def forwarded(kubectl: Kubectl, namespace: str, service: str, port: int) -> Iterator[int]:
    """A free port of 127.0.0.1 that leads to a ready server behind the Service. Raises Failure."""
    words = ["port-forward", "--address=127.0.0.1", f"--namespace={namespace}", f"service/{service}", f":{port}"]
    # Of a group of its own: the Ctrl-C that ends an answer must not end the connection.
    with running(kubectl.words(*words), own_group=True) as process:
        found = _LISTENS.match(first_line(process, "Forwarding from", CONNECT_SECONDS))
        if found is None:
            process.terminate()
            assert process.stderr is not None
            raise Failure(in_one_line(process.stderr.read(MOST_WORDS)))
        yield int(found[1])
