"""The whole download: marker, lock, listing, space, transfer, publish."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from qwen3_download import existing, marker, reuse
from qwen3_download.adapter import read_adapter, read_shapes, select_adapter
from qwen3_download.errors import Failure, Reason
from qwen3_download.facts import read_facts, read_files
from qwen3_download.hub import Hub
from qwen3_download.listing import COMMIT, Listing, RemoteFile, digest, is_adapter_weights, is_weights, select
from qwen3_download.lock import Lock
from qwen3_download.marker import FileRecord, Marker, Patterns
from qwen3_download.partial import PartialFile
from qwen3_download.progress import Progress, Snapshot, human
from qwen3_download.resolve import resolve
from qwen3_download.staging import Plan, Staging
from qwen3_download.structure import check_file, check_files
from qwen3_download.volume import disk_failure, named

_VOLUME_WAITS = (1.0, 5.0, 15.0, 30.0)
"""Seconds; a volume that fails for longer is a matter for the Job's next pod."""


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
    adapter: bool = False
    """A LoRA adapter is wanted, and no model."""

    def select(self, files: Sequence[RemoteFile]) -> tuple[RemoteFile, ...]:
        """The files to download. Raises Failure(InvalidRepository)."""
        return select_adapter(files) if self.adapter else select(files, self.allow, self.ignore)

    def is_weights(self, path: str) -> bool:
        """Whether it is a file of weights of what is wanted."""
        return is_adapter_weights(path) if self.adapter else is_weights(path)


class Download:
    """One run of the program; `run()` returns the success report."""

    def __init__(self, options: Options, progress: Progress, stopped: threading.Event) -> None:
        self._options = options
        self._progress = progress
        self._stopped = stopped
        self._staging = Staging(options.target)
        self._patterns = Patterns.of(options.allow, options.ignore)
        self._right: dict[str, FileRecord] = {}  # of the target, hashed by this run
        self._started = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Tries again where the volume fails for a moment. Raises Failure."""
        for wait in _VOLUME_WAITS:
            try:
                return self._run()
            except Failure as failure:
                if failure.reason is not Reason.VOLUME_ERROR:
                    raise
                words = f"{failure}; again in {wait:.0f} s"
                self._progress.event("retry", words, message=str(failure), seconds=wait)
                if self._stopped.wait(wait):
                    raise Failure(Reason.STOPPED, f"stopped after: {failure}") from failure
        return self._run()

    def _run(self) -> dict[str, Any]:
        options = self._options
        try:
            return self._check_existing() if options.existing else self._make()
        except OSError as error:
            doing = "read" if options.existing else "write"
            raise disk_failure(error, named(error, options.target), doing) from error

    def _make(self) -> dict[str, Any]:
        """The target, unless it is there."""
        done = self._complete()
        lock_path = self._options.target.parent / f".{self._options.target.name}.lock"
        lock = Lock(lock_path, self._stopped, self._report_waiting)
        if done and not self._options.verify:
            if lock_path.exists() or self._staging.is_there():  # killed between the rename and the tidying up
                with lock.held(wait=False) as mine:
                    if mine:
                        self._tidy()
            return self._report(done, 0)
        self._check_target()
        with lock.held():
            done = self._complete()
            if done and (not self._options.verify or self._is_right(done)):
                self._tidy()
                return self._report(done, 0)
            try:
                return self._download(lock)
            except Failure as failure:
                if lock.lost.is_set():
                    raise Failure(Reason.STOPPED, f"another process took {lock_path} over") from failure
                raise

    def _tidy(self) -> None:
        """Remove what earlier runs left beside the target."""
        self._staging.remove()
        self._tidy_removed()

    def _tidy_removed(self) -> None:
        """What cannot go yet only takes room: the next run may free it."""
        try:
            self._staging.free(self._stopped)
        except OSError:
            return
        except Failure as failure:
            if failure.reason is not Reason.VOLUME_ERROR:
                raise

    def _is_right(self, done: Marker) -> bool:
        """Hash what the marker says; where all is right nobody has to be asked."""
        wrong = existing.wrong_files(self._options.target, done.files, self._progress, self._stopped)
        self._right = {path: record for path, record in done.files.items() if path not in wrong}
        if wrong:
            return False
        check_files(done.files, lambda name: self._options.target / name)
        text = f"{len(done.files)} files are as they were downloaded"
        self._progress.event("verified", text, files=len(done.files), bytes=done.size)
        return True

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
        if done.patterns not in (None, self._patterns):
            words = f"was made with {done.patterns}, and {self._patterns} is asked for: choose another --target"
            raise Failure(Reason.USAGE, f"{options.target} {words} (what both have is linked, not fetched again)")
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

    def _download(self, lock: Lock) -> dict[str, Any]:
        options = self._options
        hub = Hub(options.model, options.endpoint, options.token, allow_http_token=options.allow_http_token)
        listing = self._list(hub)
        files = options.select(listing.files)
        total = sum(f.size for f in files)
        self._progress.event(
            "listing",
            f"{options.model} at {options.revision}: commit {listing.commit}, {len(files)} files, {human(total)}",
            commit=listing.commit,
            files=len(files),
            bytes=total,
        )
        records = {f.path: FileRecord(f.size, f.sha256) for f in files}
        wanted = self._damaged(files, records, digest(listing.files))
        self._tidy_removed()
        repairs = options.target.is_dir()
        ours = sorted({*self._ours(), *records}) if repairs else ()
        plan = Plan(options.model, options.revision, listing.commit, repairs, tuple(ours))
        self._begin(plan, wanted)
        parts = reuse.take(self._staging, wanted, self._progress, self._stopped)
        fetched = {p.remote.path for p in parts}
        kept = [records[f.path] for f in wanted if f.path not in fetched]
        received = self._transfer(hub, listing, sorted(parts, key=lambda p: p.size), kept, records) if parts else 0
        self._progress.event("verified", f"{len(files)} files verified", files=len(files), bytes=total)
        check_files(records, self._staging.place)
        done = Marker(options.model, options.revision, listing.commit, records, self._patterns, digest(listing.files))
        lock.confirm()
        self._staging.publish(done)
        return self._report(done, received, fetched_files=len(parts), kept=kept)

    def _ours(self) -> Iterator[str]:
        """Files in a target to repair that it has from this program: by its marker, and by a repair that was killed
        after it had taken the marker away."""
        done, plan = marker.read(self._options.target), self._staging.plan()
        yield from done.files if done else ()
        yield from plan.ours if plan and plan.names(self._options.model, self._options.revision) else ()

    def _begin(self, plan: Plan, wanted: Sequence[RemoteFile]) -> None:
        try:
            self._staging.begin(plan, wanted)
        except Failure as failure:
            if failure.reason is Reason.DISK_FULL:  # which is more use with the size that would be enough
                self._staging.check_space(reuse.lacking(self._staging, wanted))
            raise

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

    def _damaged(self, files: Sequence[RemoteFile], records: Mapping[str, FileRecord], listed: str) -> list[RemoteFile]:
        """All files; of a target that was complete once, those that are not right any more, by their bytes. `listed`:
        digest of the whole listing."""
        target = self._options.target
        if not target.is_dir():
            return list(files)
        before = marker.read(target)
        if before and before.listing not in ("", listed):
            text = f"the hub lists other files for {self._options.revision} than when {target} was made: it gets these,"
            text += " and loses what is not among them"
            self._progress.event("moved", text, message=text)
        unsure = {path: record for path, record in records.items() if self._right.get(path) != record}
        wrong = set(existing.wrong_files(target, unsure, self._progress, self._stopped, among=records))
        return [f for f in files if f.path in wrong]

    def _transfer(
        self,
        hub: Hub,
        listing: Listing,
        parts: list[PartialFile],
        kept: Sequence[FileRecord],
        names: Collection[str],
    ) -> int:
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
        size = sum(record.size for record in kept)
        total, files = size + sum(p.size for p in parts), len(kept) + len(parts)

        with Workers(connections, parts, network) as pool:
            # The smallest come first: an index or a pointer shows early that the rest would be of no use.
            accept = partial(check_file, names)
            transfer = Transfer(parts, source, pool, options.give_up_after, self._stopped, accept)

            def snapshot() -> Snapshot:
                done = size + sum(p.bytes_present() for p in parts)
                return Snapshot(done, total, len(kept) + transfer.verified, files)

            with self._progress.following(snapshot):
                transfer.run()
            return transfer.received

    def _report(
        self,
        done: Marker,
        received: int,
        witness: str = "hub",
        *,
        fetched_files: int = 0,
        kept: Sequence[FileRecord] = (),
    ) -> dict[str, Any]:
        seconds = time.monotonic() - self._started
        weights = sum(f.size for path, f in done.files.items() if self._options.is_weights(path))
        return {
            "result": "Complete",
            "model": done.model,
            "revision": done.revision,
            "commit": done.commit,
            "verifiedBy": witness,
            "files": len(done.files),
            "fetchedFiles": fetched_files,
            "keptFiles": len(kept),
            "keptBytes": sum(record.size for record in kept),
            "bytes": done.size,
            "weightsBytes": weights,
            "seconds": round(seconds, 3),
            "bytesPerSecond": round(received / seconds) if seconds else 0,
            **self._facts(),
        }

    def _facts(self) -> dict[str, Any]:
        """The copy is what was asked for, whatever can be read of it: a server is planned without facts, too."""
        try:
            return self._read_facts()
        except Exception as error:
            text = f"what {self._options.target} says of its model cannot be read: {type(error).__name__}: {error}"
            self._progress.event("noFacts", text, message=text)
            return {}

    def _read_facts(self) -> dict[str, Any]:
        target = self._options.target
        if self._options.adapter:
            return {"config": read_adapter(target), "checkpoint": {"lora": read_shapes(target)}}
        return {"config": read_facts(target), "checkpoint": read_files(target)}

    def _report_waiting(self, owner: str) -> None:
        self._progress.event("waiting", f"another process fills {self._options.target}: {owner}", owner=owner)
