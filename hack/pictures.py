"""The pictures of `kubectl qwen3` in the docs: its own output over recorded objects, as SVG."""

from __future__ import annotations

import io
import re
from typing import Any

from rich.console import Console
from tests.unit.plugin import recorded

from qwen3_operator.plugin.models import print_models, rows
from qwen3_operator.plugin.status_show import renderable
from qwen3_operator.plugin.status_view import Seen, view

WIDTH = 110


def pictures() -> dict[str, str]:
    """Name of the file -> SVG. The same in every process."""
    downloading = recorded.deployment("chat", "downloading", done=7 * recorded.GIB)
    loading = recorded.deployment("chat", "loading")
    others = recorded.deployment("qa", model={"id": "Qwen/Qwen3-8B", "revision": "v2"})
    pulled = recorded.event("Pod", "chat-7d9f8c6b5-x0k2p", "Pulled", "Container image is on the node already", 111)
    log = "\n".join(recorded.START_LOG.splitlines()[:2])
    claims = [*of("PersistentVolumeClaim", loading + others), recorded.claim("qwen3-4b-5e6f7a8b")]
    return {
        "status-download.svg": _picture("kubectl qwen3 status chat -w", Seen(downloading[0], recorded.NOW)),
        "status-start.svg": _picture(
            "kubectl qwen3 status chat -w",
            Seen(loading[0], recorded.NOW, of("Pod", loading), [pulled], {"gpu-1": recorded.node()}, log),
        ),
        "models.svg": _svg(
            "kubectl qwen3 models",
            lambda out: print_models(
                out, rows(of("Qwen3Model", loading + others), claims, recorded.NOW), namespaces=False
            ),
        ),
    }


def of(kind: str, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of a kind."""
    return [obj for obj in objects if obj["kind"] == kind]


def _picture(title: str, seen: Seen) -> str:
    return _svg(title, lambda out: out.print(renderable(view(seen), terminal=True)))


def _svg(title: str, show: Any) -> str:
    out = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False, markup=False)
    show(out)
    picture = out.export_svg(title=title, unique_id="qwen3")
    return re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL) + "\n"  # fonts of other servers
