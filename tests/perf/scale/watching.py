"""What the API server says of one kind, as it says it: nothing is polled, so measuring costs the machine little."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes.config
import urllib3
from pydantic_core import from_json

from qwen3_operator.controller.kinds import DEPLOYMENTS, Kind
from qwen3_operator.naming import QWEN3_DEPLOYMENTS

Object = dict[str, Any]
EDITED = "BENCH_EDIT"
"""Environment variable of a server that an edit of its Qwen3Deployment sets."""


class Watch:
    """A watch of all objects of `kind` in a namespace, in a thread of its own, from now to `close`.

    `see` gets each object and the moment; `wait` waits for what it made of them.
    """

    def __init__(self, kubeconfig: Path, namespace: str, kind: Kind) -> None:
        client = kubernetes.config.new_client_from_config(str(kubeconfig))
        self._pool = client.rest_client.pool_manager
        self._url = f"{client.configuration.host}{kind.path(namespace)}?watch=true"
        self._news = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def see(self, obj: Object, now: float) -> None:
        """An object as it is at the time `now`."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until `done`, which is asked at each event. Returns whether it came true in `seconds`."""
        with self._news:
            return self._news.wait_for(done, seconds)

    def close(self) -> None:
        """Watch no longer than to the next event."""
        self._closed = True

    def _run(self) -> None:
        while not self._closed:  # the API server ends a watch after half an hour or more
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
                self._follow()
            time.sleep(0.1)

    def _follow(self) -> None:
        answer = self._pool.request("GET", self._url, preload_content=False, timeout=urllib3.Timeout(read=None))
        rest = b""
        for chunk in answer.stream(amt=None):
            if self._closed:
                answer.close()
                return
            *lines, rest = (rest + chunk).split(b"\n")
            with self._news:
                for line in lines:
                    self._take(from_json(line))
                self._news.notify_all()

    def _take(self, event: Object) -> None:
        if event["type"] in ("ADDED", "MODIFIED"):
            self.see(event["object"], time.time())


class Timeline(Watch):
    """When each Qwen3Deployment first had each condition True, and first said why its Service is refused."""

    def __init__(self, kubeconfig: Path, namespace: str, refusal: str) -> None:
        super().__init__(kubeconfig, namespace, QWEN3_DEPLOYMENTS)
        self._refusal = refusal
        self.reached: dict[str, dict[str, float]] = {}
        self.explained: dict[str, float] = {}

    def see(self, obj: Object, now: float) -> None:
        """Note what is new."""
        name = obj["metadata"]["name"]
        for condition in (obj.get("status") or {}).get("conditions") or []:
            if condition["status"] == "True":
                self.reached.setdefault(condition["type"], {}).setdefault(name, now)
            if self._refusal in condition["message"]:
                self.explained.setdefault(name, now)

    @property
    def ready(self) -> dict[str, float]:
        """When each became Ready."""
        return self.reached.get("Ready", {})


class Edits(Watch):
    """When each server Deployment first had the edit that was made last."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        super().__init__(kubeconfig, namespace, DEPLOYMENTS)
        self.seen: dict[tuple[str, str], float] = {}

    def see(self, obj: Object, now: float) -> None:
        """Note the edit that its pods are made with."""
        for container in obj["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env") or []:
                if variable["name"] == EDITED:
                    self.seen.setdefault((obj["metadata"]["name"], variable["value"]), now)
