"""The cases of the scale bench. Each returns its figures: seconds, MiB, and numbers of requests."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.perf.scale import floor
from tests.perf.scale.audit import Request, by_kind, reads_and_writes
from tests.perf.scale.prometheus import reconciles
from tests.perf.scale.stand import NAMESPACE, Stand, name_of, stand
from tests.perf.scale.usage import cpu_seconds, rss_mib
from tests.perf.scale.watching import Edits

CRS_A_MODEL = 10
FLOORS = 3
"""It takes some 5 s, and one alone differs by a fifth from the next."""
REST_SECONDS = 60.0
MOST_EDITS, EDIT_PAUSE, EDIT_LIMIT = 200, 0.1, 30.0
CREATION_LIMIT = 120.0
REASON_SECONDS = 30.0
"""How long a reason is waited for after the last Service was refused for the first time."""
CONDITIONS = ("Accepted", "ModelReady", "Fits", "Scheduled", "Available", "Ready")

Figures = dict[str, float]


@dataclass
class Result:
    """Figures, and for people: where the time went."""

    figures: Figures
    where: dict[str, Any]


@dataclass
class Bench:
    """One run of the cases. What one measures and another compares with is measured once."""

    folder: Path
    say: Callable[[str], None]
    sizes: Mapping[str, int]
    """Qwen3Deployments of each case."""
    results: dict[str, Result] = field(default_factory=dict)

    def result(self, case: str) -> Result:
        """The result of a case. Raises TimeoutError where its Qwen3Deployments do not become Ready."""
        if case not in self.results:
            self.say(f"{case}, N = {self.sizes[case]}: {CASES[case].__doc__}")
            folder = self.folder / case
            folder.mkdir()
            result = CASES[case](self, folder, self.sizes[case])
            result.figures = {name: round(value, 3) for name, value in result.figures.items()}
            self.results[case] = result
        return self.results[case]


def bare(bench: Bench, folder: Path, crs: int) -> Result:
    """The same objects without an operator: what the control plane alone takes for them on this machine."""
    floors = [_floor(folder / str(number), crs) for number in range(FLOORS)]
    spread = {"least": round(min(floors), 3), "most": round(max(floors), 3)}
    return Result({"all_ready_s": statistics.median(floors)}, {"floors_s": spread})


def _floor(folder: Path, crs: int) -> float:
    folder.mkdir()
    with stand(folder, crs=crs + 1) as it:
        it.create(range(1), 1)
        if not it.timeline.wait(lambda: bool(it.timeline.ready), CREATION_LIMIT):
            raise TimeoutError("the pattern is not Ready")
        it.wait_quiet(3)
        it.operator.stop()
        limit, models = CREATION_LIMIT + 0.6 * crs, max(1, crs // CRS_A_MODEL)
        return floor.seconds(it.api, it.cluster.kubeconfig, NAMESPACE, crs, models, limit)


def hundred(bench: Bench, folder: Path, crs: int) -> Result:
    """All at once, 10 of them a model; then rest, then a restart of the operator."""
    least = bench.result("bare").figures["all_ready_s"]
    with stand(folder, crs=crs) as it:
        result = _create(it, crs)
        result.figures["over_bare"] = result.figures["all_ready_s"] / least
        result.figures |= _rest(it) | _restart(it, crs)
        return result


def thousand(bench: Bench, folder: Path, crs: int) -> Result:
    """The same with a thousand, and edits at rest and while a tenth more is made."""
    with stand(folder, crs=crs + crs // 10) as it:
        result = _create(it, crs)
        result.figures |= _rest(it) | _edits(it, crs) | _restart(it, crs)
        return result


def many(bench: Bench, folder: Path, crs: int) -> Result:
    """As many as the machine holds: does one cost what it costs among a hundred?"""
    few = bench.result("hundred").figures
    with stand(folder, crs=crs) as it:
        result = _create(it, crs)
    for name in ("operator_cpu_s_per_cr", "reads_per_cr"):
        result.figures[f"{name}_ratio"] = result.figures[name] / few[name]
    return result


def refused(bench: Bench, folder: Path, crs: int) -> Result:
    """A thousand; of 3 in 10 the API server refuses the Service (500). The others are compared with a run without."""
    bad = {number for number in range(crs) if number % 10 in (2, 5, 8)}
    good = [name_of(number) for number in range(crs) if number not in bad]
    without = bench.result("thousand").figures["ready_of_7_in_10_s"]
    with stand(folder, crs=crs, few_node_ports=True) as it:
        result = _create(it, crs, refused=bad)
        names = {name_of(number) for number in bad}
        it.timeline.wait(lambda: len(it.timeline.explained) == len(names), REASON_SECONDS)
        requests = it.audit.requests()
        first = _first_refusals(requests)
        if set(first) != names:
            raise RuntimeError(f"the Services of {len(first)} were refused in the place of {len(names)}")
        now = time.time()
        late = sorted(it.timeline.explained.get(name, now) - first[name] for name in names)
        result.figures |= {
            "good_ready_ratio": _last(it, good) / without,
            "reason_p50_s": late[len(late) // 2],
            "reason_max_s": late[-1],
            "without_reason": len(names - set(it.timeline.explained)),
            "tries_a_refused": sum(r.resource == "services" and r.code >= 500 for r in requests) / len(names),
        }
        return result


CASES: dict[str, Callable[[Bench, Path, int], Result]] = {
    "bare": bare,
    "hundred": hundred,
    "thousand": thousand,
    "many": many,
    "refused": refused,
}
SIZES = {"bare": 100, "hundred": 100, "thousand": 1000, "many": 5000, "refused": 1000}


def _create(it: Stand, crs: int, refused: Collection[int] = ()) -> Result:
    """Create Qwen3Deployments, wait until all but the refused are Ready and the operator rests; what that took."""
    limit = CREATION_LIMIT + 0.6 * crs
    wanted = {name_of(number) for number in range(crs) if number not in refused}
    before = len(it.audit.requests())
    rss_before = rss_mib(it.operator.pid)
    it.meter.reset()
    it.create(range(crs), max(1, crs // CRS_A_MODEL), refused)
    all_posted = time.time()
    if not it.timeline.wait(lambda: wanted <= it.timeline.ready.keys(), limit):
        raise TimeoutError(f"{len(it.timeline.ready)} of {len(wanted)} are Ready after {limit:.0f} s")
    until_ready = it.meter.used()
    requests = it.wait_quiet()[before:]
    cpu = it.meter.used()["operator"]
    reads, writes = reads_and_writes(requests)
    started = min(it.posted.values())
    latencies = sorted(it.timeline.ready[name] - it.posted[name] for name in wanted)
    figures = {
        "load_before": it.load_before,
        "settled_s": it.settled_s,
        "others_cpu_s": until_ready["others"],
        "all_ready_s": _last(it, wanted),
        "ready_of_7_in_10_s": _last(it, [name for name in wanted if int(name[-1]) not in (2, 5, 8)]),
        "all_posted_s": all_posted - started,
        "latency_p50_s": percentile(latencies, 50),
        "latency_max_s": latencies[-1],
        "operator_cpu_s": cpu,
        "operator_cpu_s_per_cr": cpu / crs,
        "reads_per_cr": reads / crs,
        "writes_per_cr": writes / crs,
        "rss_before_mib": rss_before,
        "rss_mib": rss_mib(it.operator.pid),
    }
    where = {
        "cpu_s_until_all_are_ready": {name: round(seconds, 1) for name, seconds in until_ready.items()},
        "seconds_to_condition": _conditions(it, wanted),
        "requests_a_cr": {kind: round(count / crs, 2) for kind, count in by_kind(requests).items() if count * 50 > crs},
        "reconciles": reconciles(it.operator.http("/metrics")[1]),
    }
    return Result(figures, where)


def _last(it: Stand, names: Collection[str]) -> float:
    """Seconds from the first POST until all of `names` were Ready."""
    return max(it.timeline.ready[name] for name in names) - min(it.posted.values())


def _conditions(it: Stand, names: Collection[str]) -> dict[str, str]:
    """Seconds from each one's POST until it first had a condition, median and greatest."""
    found = {}
    for condition in CONDITIONS:
        reached = it.timeline.reached.get(condition, {})
        if seconds := [reached[name] - it.posted[name] for name in names if name in reached]:
            found[condition] = f"{statistics.median(seconds):.1f} (at most {max(seconds):.1f})"
    return found


def _rest(it: Stand) -> Figures:
    """What the operator does in a minute while nothing happens."""
    before, cpu = len(it.audit.requests()), cpu_seconds(it.operator.pid)
    time.sleep(REST_SECONDS)
    reads, writes = reads_and_writes(it.audit.requests()[before:])
    return {"reads_at_rest": reads, "writes_at_rest": writes, "cpu_at_rest_s": cpu_seconds(it.operator.pid) - cpu}


def _restart(it: Stand, crs: int) -> Figures:
    """What a restart costs when nothing changed meanwhile."""
    before = len(it.wait_quiet())
    stop_seconds = it.operator.stop()
    it.operator.start()
    time.sleep(5)
    requests = it.wait_quiet()[before:]
    reads, writes = reads_and_writes(requests)
    return {
        "stop_s": stop_seconds,
        "writes_of_restart": writes,
        "reads_of_restart_per_cr": reads / crs,
        "restart_cpu_s": cpu_seconds(it.operator.pid),
        "restart_s": max(r.at for r in requests) - min(r.at for r in requests) if requests else 0.0,
    }


def _edits(it: Stand, crs: int) -> Figures:
    """Seconds from an edit until the Deployment has it: at rest, and while others are made."""
    watch = Edits(it.cluster.kubeconfig, NAMESPACE)
    watch.start()
    time.sleep(2)  # the Deployments that are there come first
    try:
        edits = min(MOST_EDITS, 2 * crs)
        at_rest = [_edit(it, watch, step * crs // edits, f"rest-{step}") for step in range(edits)]
        it.wait_quiet()
        more = range(crs, crs + crs // 10)
        models = max(1, crs // CRS_A_MODEL)
        creator = threading.Thread(target=it.create, args=(more, models + models // 10))
        deadline = time.monotonic() + CREATION_LIMIT
        creator.start()
        beside: list[float] = []
        while len(it.timeline.ready) < more.stop and time.monotonic() < deadline:
            beside.append(_edit(it, watch, len(beside) * 7 % crs, f"beside-{len(beside)}"))
        creator.join()
    finally:
        watch.close()
    return {
        "edit_p50_s": percentile(at_rest, 50),
        "edit_p99_s": percentile(at_rest, 99),
        "edit_beside_p50_s": percentile(beside, 50),
        "edit_beside_p99_s": percentile(beside, 99),
        "edits_beside": len(beside),
    }


def _edit(it: Stand, watch: Edits, number: int, value: str) -> float:
    """Edit one; seconds until its Deployment has it, the limit where it has not."""
    time.sleep(EDIT_PAUSE)
    key = (name_of(number), value)
    started = time.time()
    it.edit(number, value)
    watch.wait(lambda: key in watch.seen, EDIT_LIMIT)
    return watch.seen.get(key, started + EDIT_LIMIT) - started


def percentile(values: Sequence[float], percent: int) -> float:
    """The least value that `percent` of `values` do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _first_refusals(requests: Collection[Request]) -> dict[str, float]:
    """When the Service of each was refused first."""
    first: dict[str, float] = {}
    for request in requests:
        if request.resource == "services" and request.code >= 500:
            first.setdefault(request.name, request.at)
    return first
