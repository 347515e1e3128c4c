"""The links, the faults, and what is measured on each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hub.process import HubProcess
from tests.perf.download import programs
from tests.perf.download.measure import Figure, middle, run
from tests.perf.download.programs import Job

MB = 1_000_000
MIB = 1024**2
LARGE, ONE, SMALL = "Bench/Four", "Bench/One", "Bench/Small"
Commands = Callable[[Job], list[list[str]]]


@dataclass
class Outcome:
    """A case's value for the threshold, and the figures of every program that took part."""

    value: float
    figures: dict[str, Figure]
    details: dict[str, Any] = field(default_factory=dict)


class Bench:
    """Where the data lie and how often each program runs."""

    def __init__(self, folder: Path, rounds: int, report: Callable[[str], None]) -> None:
        self.root = folder / "root"
        self.rounds = rounds
        self._folder = folder
        self._report = report

    def make_data(self) -> None:
        """4 x 512 MiB, 1 GiB and 64 x 64 KiB of random bytes."""
        self._model(LARGE, {f"model-{n}.safetensors": 512 * MIB for n in range(4)})
        self._model(ONE, {"model.safetensors": 1024 * MIB})
        self._model(SMALL, {f"model-{n:02}.safetensors": 64 * 1024 for n in range(64)})

    @contextmanager
    def hub(self, *options: str, tls: bool = False) -> Iterator[HubProcess]:
        with HubProcess(self.root, *options, tls_folder=self._folder if tls else None) as hub:
            for model in (LARGE, ONE, SMALL):  # so that no run waits for the hub's own hashing
                hub.request("GET", f"/api/v1/models/{model}/repo/files?Revision=master")
            yield hub

    def compare(
        self, hub: HubProcess, model: str, contestants: Mapping[str, Commands], rounds: int = 0
    ) -> dict[str, Figure]:
        """Every contestant once a round, in turn; medians."""
        sizes = {p.name: p.stat().st_size for p in (self.root / model).iterdir()}
        found: dict[str, list[Figure]] = {}
        for _ in range(rounds or self.rounds):
            for name, commands in contestants.items():
                job = self.job(hub, model)
                started = commands(job)
                if started:
                    found.setdefault(name, []).append(run(started, sum(sizes.values()), job.environment()))
                    last = found[name][-1]
                    self._report(f"{name}: {last.seconds:.2f} s, {last.rate / MB:.0f} MB/s")
        return {name: middle(figures) for name, figures in found.items()}

    def job(self, hub: HubProcess, model: str) -> Job:
        place = self._folder / "out"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return Job(hub, model, sorted(p.name for p in (self.root / model).iterdir()), place)

    def _model(self, model: str, sizes: dict[str, int]) -> None:
        folder = self.root / model
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        with Path("/dev/urandom").open("rb") as noise:
            for name, size in sizes.items():
                tensor = size - 8 - 256  # behind a header, which the program reads when all is there
                header = f'{{"a":{{"dtype":"U8","shape":[{tensor}],"data_offsets":[0,{tensor}]}}}}'.encode().ljust(256)
                with (folder / name).open("wb") as stream:
                    stream.write(len(header).to_bytes(8, "little") + header)
                    for at in range(0, tensor, 8 * MIB):
                        stream.write(noise.read(min(8 * MIB, tensor - at)))


def tls(bench: Bench) -> dict[str, Outcome]:
    """No limit but the machine: what TLS, hashing and Python cost."""
    contestants = {
        "curl in turn": programs.curl_in_turn,
        "curl side by side": programs.curl_side_by_side,
        "curl and sha256": programs.curl_and_sha256,
        "ours": programs.ours,
        "aria2c": programs.aria2,
    }
    with bench.hub(tls=True) as hub:
        figures = bench.compare(hub, LARGE, contestants)
        figures |= bench.compare(hub, LARGE, {"plain client": programs.plain_client}, rounds=1)  # slow, and no rival
    ours, best = figures["ours"].rate, max(figures["curl in turn"].rate, figures["curl side by side"].rate)
    checked = {name: figures[name] for name in ("curl and sha256", "ours")}
    return {
        "tls-checked": Outcome(ours / figures["curl and sha256"].rate, checked),
        "tls": Outcome(ours / best, figures),
    }


def per_connection(bench: Bench) -> dict[str, Outcome]:
    """10 MB/s a connection: curl's rate is measured on a part, ours on the whole."""
    return limited_each(bench, "per-connection", 10 * MB)


def without_latency(bench: Bench) -> dict[str, Outcome]:
    """2 MB/s a connection."""
    return limited_each(bench, "rtt-0", 2 * MB)


def latency_100(bench: Bench) -> dict[str, Outcome]:
    """2 MB/s a connection over a round trip of 100 ms."""
    return limited_each(bench, "rtt-100", 2 * MB, "--rtt", "0.1")


def latency_200(bench: Bench) -> dict[str, Outcome]:
    """2 MB/s a connection over a round trip of 200 ms."""
    return limited_each(bench, "rtt-200", 2 * MB, "--rtt", "0.2")


def limited_each(bench: Bench, name: str, rate: int, *options: str) -> dict[str, Outcome]:
    outcomes = {}
    with bench.hub("--connection-rate", str(rate), *options) as hub:
        job, part = bench.job(hub, ONE), 10 * rate
        curl = run(programs.curl_first_part(job, part), part, job.environment())
        for kind, model in (("one-file", ONE), ("four-files", LARGE)):
            figures = bench.compare(hub, model, {"ours": programs.ours})
            figures |= bench.compare(hub, model, {"aria2c": programs.aria2}, rounds=1)  # minutes, and no rival
            ratio = figures["ours"].rate / curl.rate
            outcomes[f"{name}-{kind}"] = Outcome(ratio, {"one curl": curl, **figures})
    return outcomes


def shaped(bench: Bench) -> dict[str, Outcome]:
    """200 MB/s in all."""
    contestants = {"curl in turn": programs.curl_in_turn, "ours": programs.ours, "aria2c": programs.aria2}
    with bench.hub("--total-rate", str(200 * MB)) as hub:
        figures = bench.compare(hub, LARGE, contestants)
    return {"shaped": Outcome(figures["ours"].rate / figures["curl in turn"].rate, figures)}


def faults(bench: Bench) -> dict[str, Outcome]:
    """Faults on the shaped link, against the same link without them."""
    rules: dict[str, list[dict[str, Any]]] = {
        "drops": [{"do": {"dropEvery": 20 * MB}}],
        "stall": [{"do": {"stallAt": 100 * MB, "seconds": 120}, "times": 1}],
        "refusals": [
            {"do": {"status": 503}, "probability": 0.01},
            {"do": {"status": 429, "headers": {"Retry-After": "1"}}, "probability": 0.01},
        ],
    }
    outcomes, twice = {}, 0.0
    for name, added in rules.items():
        with bench.hub("--total-rate", str(200 * MB)) as hub:

            def disturbed(job: Job, added: list[dict[str, Any]] = added) -> list[list[str]]:
                job.hub.clear_faults()
                for rule in added:
                    job.hub.fault(rule["do"], on="file", path="model*", **{k: v for k, v in rule.items() if k != "do"})
                job.hub.clear_log()
                return programs.ours(job)

            def undisturbed(job: Job) -> list[list[str]]:
                job.hub.clear_faults()
                return programs.ours(job)

            figures = bench.compare(hub, ONE, {"undisturbed": undisturbed, "ours": disturbed})
            log = hub.log("file")  # of the last disturbed run
        requests, sent = len(log), sum(e["sent"] for e in log)
        extra = sent - figures["ours"].size
        twice = max(twice, extra / max(1, requests))
        ratio = figures["ours"].seconds / figures["undisturbed"].seconds
        outcomes[name] = Outcome(ratio, figures, {"requests": requests, "bytesFetchedTwice": extra})
    outcomes["fetched-twice"] = Outcome(twice, {})
    return outcomes


def small_files(bench: Bench) -> dict[str, Outcome]:
    """64 files of 64 KiB: start-up, listing and requests."""
    with bench.hub() as hub:
        figures = bench.compare(hub, SMALL, {"curl in turn": programs.curl_in_turn, "ours": programs.ours})
    return {"small-files": Outcome(figures["ours"].seconds - figures["curl in turn"].seconds, figures)}


def second_life(bench: Bench) -> dict[str, Outcome]:
    """A complete folder: no network, only the marker and the sizes."""
    with bench.hub() as hub:
        job = bench.job(hub, LARGE)
        run(programs.ours(job), 2048 * MIB, job.environment())
        figure = middle([run(programs.ours(job), 2048 * MIB, job.environment()) for _ in range(bench.rounds)])
    return {"second-life": Outcome(figure.seconds, {"ours": figure})}


def repin(bench: Bench) -> dict[str, Outcome]:
    """Another revision of 2 GiB, of which only the README is another: nothing but that is fetched."""
    source = bench.root / LARGE
    shutil.copytree(source, bench.root / f"{LARGE}@v1", copy_function=os.link)
    (source / "README.md").write_text("of the branch alone")
    with bench.hub() as hub:
        job = bench.job(hub, LARGE)
        run(programs.ours(job, "v1"), 2048 * MIB, job.environment())
        figures, sent = [], []
        for _ in range(bench.rounds):
            shutil.rmtree(job.folder / "master", ignore_errors=True)
            hub.clear_log()
            figures.append(run(programs.ours(job), 2048 * MIB, job.environment()))
            sent.append(sum(e["sent"] for e in hub.log("file")))
        if not min(sent):
            raise RuntimeError("a round fetched nothing: its folder was there already")
    (source / "README.md").unlink()
    figure = middle(figures)
    return {"repin": Outcome(figure.seconds, {"ours": figure}), "repin-bytes": Outcome(max(sent) / figure.size, {})}


CASES = {
    "tls": tls,
    "rtt-0": without_latency,
    "rtt-100": latency_100,
    "rtt-200": latency_200,
    "per-connection": per_connection,
    "shaped": shaped,
    "faults": faults,
    "small-files": small_files,
    "second-life": second_life,
    "repin": repin,
}
