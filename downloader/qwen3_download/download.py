"""The whole download: marker, lock, listing, space, transfer, publish."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qwen3_download import existing, marker
from qwen3_download.errors import Failure, Reason
from qwen3_download.facts import read_facts, read_files
from qwen3_download.hub import Hub
from qwen3_download.listing import COMMIT, Listing, RemoteFile, is_weights, select
from qwen3_download.lock import Lock
from qwen3_download.marker import FileRecord, Marker
from qwen3_download.partial import PartialFile, disk_failure
from qwen3_download.progress import Progress, Snapshot, human
from qwen3_download.resolve import resolve
from qwen3_download.staging import Plan, Staging
from qwen3_download.structure import check_files


@dataclass(frozen=True)
class Options:
    """What the command line says. `limit_rate` in bytes/s, 0: none."""

    model: str
    revision: str
    endpoint: str
    target: Path
    token: str = field(default="", repr=False)
    allow_http_token: bool = False
    allow: Sequence[str] = ()
    ignore: Sequence[str] = ()
    max_workers: int = 16
    limit_rate: int = 0
    stall_timeout: int = 30
    give_up_after: float = 300.0
    verify: bool = False
    existing: bool = False


class Download:
    """One run of the program; `run()` returns the success report."""

    def __init__(self, options: Options, progress: Progress, stopped: threading.Event) -> None:
        self._options = options
        self._progress = progress
        self._stopped = stopped
        self._staging = Staging(options.target)
        self._started = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Raises Failure."""
        try:
            return self._check_existing() if self._options.existing else self._run()
        except OSError as error:
            raise disk_failure(error, Path(error.filename or self._options.target)) from error

    def _run(self) -> dict[str, Any]:
        done = self._complete()
        lock_path = self._options.target.parent / f".{self._options.target.name}.lock"
        lock = Lock(lock_path, self._stopped, self._tell_waiting)
        if done and not self._options.verify:
            if self._staging.root.exists() or lock_path.exists():  # killed between the rename and the tidying up
                with lock.held(wait=False) as mine:
                    if mine:
                        self._staging.remove()
            return self._report(done, 0)
        self._check_target()
        with lock.held():
            done = self._complete()
            if done and not self._options.verify:
                self._staging.remove()
                return self._report(done, 0)
            try:
                return self._download()
            except Failure as failure:
                if lock.lost.is_set():
                    raise Failure(Reason.HUB_UNAVAILABLE, f"another process took {lock_path} over") from failure
                raise

    def _check_existing(self) -> dict[str, Any]:
        options = self._options
        hub = Hub(options.model, options.endpoint, options.token, allow_http_token=options.allow_http_token)
        found, witness = existing.check(
            options.target, hub, options.revision, options.allow, options.ignore, self._progress, self._stopped
        )
        self._progress.event("verified", f"{len(found.files)} files verified by {witness}", files=len(found.files))
        return self._report(found, 0, witness)

    def _complete(self) -> Marker | None:
        """The marker of a target that is complete by its sizes. Raises Failure(Usage) for another model's folder."""
        options = self._options
        done = marker.read(options.target)
        if done is None:
            return None
        if not done.names(options.model, options.revision):
            text = f"{options.target} holds {done.model} at {done.revision} ({done.commit}): choose another --target"
            raise Failure(Reason.USAGE, text)
        if done.wrong_sizes(options.target):
            return None
        return done

    def _check_target(self) -> None:
        target = self._options.target
        if not target.parent.is_dir():
            raise Failure(Reason.USAGE, f"the folder {target.parent} does not exist")
        if target.is_mount():
            raise Failure(Reason.USAGE, f"{target} is a mount point: name a folder inside it")
        if target.exists() and not target.is_dir():
            raise Failure(Reason.USAGE, f"{target} is not a folder")
        plan = self._staging.plan()
        repairing = plan is not None and plan.repairs and plan.names(self._options.model, self._options.revision)
        if target.is_dir() and marker.read(target) is None and not repairing:
            try:
                target.rmdir()
            except OSError:
                text = f"{target} is not empty and has no {marker.NAME}: move it away, or choose another --target"
                raise Failure(Reason.USAGE, text) from None

    def _download(self) -> dict[str, Any]:
        options = self._options
        hub = Hub(options.model, options.endpoint, options.token, allow_http_token=options.allow_http_token)
        listing = self._list(hub)
        files = select(listing.files, options.allow, options.ignore)
        total = sum(f.size for f in files)
        self._progress.event(
            "listing",
            f"{options.model} at {options.revision}: commit {listing.commit}, {len(files)} files, {human(total)}",
            commit=listing.commit,
            files=len(files),
            bytes=total,
        )
        records = {f.path: FileRecord(f.size, f.sha256) for f in files}
        wanted = self._damaged(files, records)
        plan = Plan(options.model, options.revision, listing.commit, repairs=options.target.is_dir())
        parts = self._staging.prepare(plan, wanted)
        self._staging.check_space(parts)
        received = self._transfer(hub, listing, sorted(parts, key=lambda p: p.size))
        self._progress.event("verified", f"{len(files)} files verified", files=len(files), bytes=total)
        check_files(records, self._staging.place)
        done = Marker(options.model, options.revision, listing.commit, records)
        self._staging.publish(done)
        return self._report(done, received, fetched_files=len(parts))

    def _list(self, hub: Hub) -> Listing:
        """The commit of an earlier try, or of a target to repair, goes first: a moving branch must not mix two."""
        options = self._options
        revision = options.revision
        for kept in (self._staging.plan(), marker.read(options.target)):
            if kept and kept.names(options.model, options.revision) and COMMIT.fullmatch(kept.commit):
                revision = kept.commit
                break
        try:
            return resolve(hub, revision, options.give_up_after, self._progress, self._stopped)
        except Failure as failure:
            if failure.reason is not Reason.REVISION_NOT_FOUND or revision == options.revision:
                raise
        return resolve(hub, options.revision, options.give_up_after, self._progress, self._stopped)

    def _damaged(self, files: Sequence[RemoteFile], records: Mapping[str, FileRecord]) -> list[RemoteFile]:
        """All files; of a target that was complete once, those that are not right any more, by their bytes."""
        target = self._options.target
        if not target.is_dir():
            return list(files)
        wrong = set(existing.wrong_files(target, records, self._progress, self._stopped))
        return [f for f in files if f.path in wrong]

    def _transfer(self, hub: Hub, listing: Listing, parts: list[PartialFile]) -> int:
        from qwen3_download.fetch import Network
        from qwen3_download.limit import Limit
        from qwen3_download.transfer import Source, Transfer
        from qwen3_download.workers import Workers

        options = self._options
        limit = Limit(options.limit_rate) if options.limit_rate else None
        network = Network(ca=Network.trusted_authorities(os.environ), stall_seconds=options.stall_timeout)
        if limit:
            network = replace(network, take=limit.take, write_bytes=limit.write_bytes)
        source = Source(hub.endpoint, lambda path: hub.file_url(path, listing.request_revision), hub.headers())
        workers = limit.connections(options.max_workers) if limit else options.max_workers
        # No connection can have less to do than a block. The processes are forked before other threads run.
        connections = min(workers, sum(p.blocks for p in parts))
        total = sum(p.size for p in parts)

        with Workers(connections, parts, network) as pool:
            transfer = Transfer(parts, source, pool, options.give_up_after, self._stopped)

            def snapshot() -> Snapshot:
                return Snapshot(sum(p.bytes_present() for p in parts), total, transfer.verified, len(parts))

            with self._progress.following(snapshot):
                transfer.run()
            return transfer.received

    def _report(self, done: Marker, received: int, witness: str = "hub", *, fetched_files: int = 0) -> dict[str, Any]:
        seconds = time.monotonic() - self._started
        weights = sum(f.size for path, f in done.files.items() if is_weights(path))
        return {
            "result": "Complete",
            "model": done.model,
            "revision": done.revision,
            "commit": done.commit,
            "verifiedBy": witness,
            "files": len(done.files),
            "fetchedFiles": fetched_files,
            "bytes": done.size,
            "weightsBytes": weights,
            "seconds": round(seconds, 3),
            "bytesPerSecond": round(received / seconds) if seconds else 0,
            "config": read_facts(self._options.target),
            "checkpoint": read_files(self._options.target),
        }

    def _tell_waiting(self, owner: str) -> None:
        self._progress.event("waiting", f"another process fills {self._options.target}: {owner}", owner=owner)
