"""Remove a folder that this program made, and what an interrupted run left beside it. Nothing else."""

from __future__ import annotations

import threading
from typing import Any

from qwen3_download import marker
from qwen3_download.download import Options
from qwen3_download.errors import Failure, Reason
from qwen3_download.lock import Lock
from qwen3_download.progress import Progress
from qwen3_download.staging import Staging
from qwen3_download.volume import disk_failure, named


def remove(options: Options, progress: Progress, stopped: threading.Event) -> dict[str, Any]:
    """The report with the bytes that became free; a folder that is gone already is fine.

    Whoever is ended in the middle of it is followed by a run that goes on: the folder loses its name first, and what
    has that other name is ours without a marker.

    Raises Failure: Usage for a link, a mount point, no folder above it, no marker, or a marker of another model or
    revision; Stopped; VolumeError where a pod has files of it open.
    """
    target = options.target
    if target.is_symlink() or target.parent.resolve() / target.name != target.resolve():
        raise Failure(Reason.USAGE, f"{target} leads out of its folder: it is not removed")
    if not target.parent.is_dir():
        raise Failure(Reason.USAGE, f"the folder {target.parent} does not exist")
    if target.is_mount():
        raise Failure(Reason.USAGE, f"{target} is a mount point: it is not removed")
    staging = Staging(target)
    lock = Lock(
        target.parent / f".{target.name}.lock", stopped, lambda owner: _report_waiting(progress, options, owner)
    )
    try:
        # Nobody's any more, so it needs no lock: on a full volume it makes the room for one.
        freed = staging.free(stopped)
        with lock.held():
            freed += staging.free(stopped)
            if target.exists():
                done = marker.read(target)
                if done is None or not done.names(options.model, options.revision):
                    holds = f"holds {done.model} at {done.revision}" if done else f"has no {marker.NAME} of ours"
                    raise Failure(Reason.USAGE, f"{target} {holds}: it is not removed")
                lock.confirm()
                staging.retire()
                freed += staging.free(stopped)
            plan = staging.plan()
            if plan and (plan.model, plan.revision) == (options.model, options.revision):
                staging.remove()
    except OSError as error:
        raise disk_failure(error, named(error, target), "remove") from error
    return {
        "result": "Complete",
        "model": options.model,
        "revision": options.revision,
        "files": 0,
        "bytes": freed,
    }


def _report_waiting(progress: Progress, options: Options, owner: str) -> None:
    progress.event("waiting", f"another process works on {options.target}: {owner}", owner=owner)
