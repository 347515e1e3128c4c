"""What a download would fetch, without fetching it: files and bytes after the patterns."""

from __future__ import annotations

import threading
from typing import Any

from qwen3_download.download import Options
from qwen3_download.hub import Hub
from qwen3_download.progress import Progress
from qwen3_download.resolve import resolve


def survey(options: Options, progress: Progress, stopped: threading.Event) -> dict[str, Any]:
    """The report: commit, files, bytes. Tries again while the hub does not answer. Raises Failure."""
    hub = Hub(options.model, options.endpoint, options.token, allow_http_token=options.allow_http_token)
    listing = resolve(hub, options.revision, options.give_up_after, progress, stopped)
    files = options.select(listing.files)
    return {
        "result": "Complete",
        "model": options.model,
        "revision": options.revision,
        "commit": listing.commit,
        "files": len(files),
        "bytes": sum(f.size for f in files),
        "weightsBytes": sum(f.size for f in files if options.is_weights(f.path)),
    }
