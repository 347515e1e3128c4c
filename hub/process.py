"""The hub as a process of its own, with its admin interface as methods: what tests and benchmarks use."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from hub.tls import make_certificates

CHECKOUT = Path(__file__).resolve().parents[1]


class HubProcess:
    """`with HubProcess(root) as hub:` serves `root` at `hub.url`, a free port of 127.0.0.1, until the block ends."""

    def __init__(self, root: Path, *options: str, tls_folder: Path | None = None) -> None:
        self.command = [sys.executable, "-m", "hub", "--root", str(root), *options]
        self.ca: Path | None = None
        context = None
        if tls_folder:
            self.ca, certificate = make_certificates(tls_folder)
            self.command += ["--tls-cert", str(certificate)]
            context = ssl.create_default_context(cafile=str(self.ca))
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))
        self.url = ""

    def __enter__(self) -> HubProcess:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the hub did not start: {' '.join(self.command)}")
        self.url = json.loads(line)["url"]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout
        self.process.stdout.close()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with self._opener.open(Request(self.url + path, data=data, method=method), timeout=60) as answer:
            return json.load(answer)

    def fault(self, do: dict[str, Any], **rule: Any) -> None:
        """Add a fault; see hub/faults.py."""
        self.request("POST", "/admin/faults", {"do": do, **rule})

    def clear_faults(self) -> None:
        self.request("DELETE", "/admin/faults")

    def struck(self) -> list[int]:
        result: list[int] = self.request("GET", "/admin/faults")
        return result

    def settings(self, **values: Any) -> None:
        """Change limits, token, redirect while it runs."""
        self.request("POST", "/admin/settings", values)

    def log(self, kind: str = "") -> list[dict[str, Any]]:
        """What was asked so far: kind, path, range, bytes sent."""
        return [entry for entry in self.request("GET", "/admin/log") if kind in ("", entry["kind"])]

    def clear_log(self) -> None:
        self.request("DELETE", "/admin/log")
