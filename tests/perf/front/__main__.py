"""What the front takes: memory of streams that wait, and how long it takes to pass them on.

python -m tests.perf.front   (half a minute; exit code 1 above the thresholds of figures.yaml)

The front is the process that the chart runs, with the chart's 512 ports. STREAMS clients stream and wait; then there
is a server, and all of them are answered.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from tests.unit.front.api_server import ApiServer
from tests.unit.front.processes import FrontProcess, free_ports, front_slice, server_slice
from tests.unit.front.stand import Server

STREAMS, BODY_BYTES = (500, 1000), 8_000
HELD_SECONDS = 8
"""Long enough for a comment in each stream."""
FIGURES = Path(__file__).parent / "figures.yaml"
BODY = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x" * BODY_BYTES}]}


async def ask(http: aiohttp.ClientSession, url: str, comments: list[int]) -> None:
    """One client that streams."""
    async with http.post(f"{url}/v1/chat/completions", json=BODY) as response:
        text = await response.read()
    assert response.status == 200 and text.endswith(b"data: [DONE]\n\n"), text[-300:]
    comments.append(text.count(b": waiting"))


async def measure(folder: Path) -> dict[str, Any]:
    """Figures of one front."""
    api, server = ApiServer(folder), Server()
    await api.start()
    await server.start()
    ports = 512
    front = FrontProcess(api.kubeconfig, folder / "log", ports=ports, first_port=(first := free_ports(ports)))
    url, found = f"http://127.0.0.1:{first}", dict[str, Any]()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as http:
        await until(lambda: is_ready(http, front))
        found["rss_mib_idle"] = round(front.rss_mib, 1)
        api.put(front_slice(first))
        for count in STREAMS:
            comments: list[int] = []
            waits = [asyncio.create_task(ask(http, url, comments)) for _ in range(count)]
            await until(partial(waits_for, http, front, count))
            busy = front.cpu_seconds
            await asyncio.sleep(HELD_SECONDS)
            found[f"rss_mib_{count}_waiting"] = round(front.rss_mib, 1)
            found[f"cpu_percent_{count}_waiting"] = round(100 * (front.cpu_seconds - busy) / HELD_SECONDS, 1)
            began = time.monotonic()
            api.put(server_slice(server.port, "127.0.0.1"))
            await asyncio.gather(*waits)
            found[f"seconds_to_serve_{count}"] = round(time.monotonic() - began, 2)
            assert min(comments) >= 1
            api.remove("chat-x7k2p")
        found["most_at_the_server"] = server.most_running
    front.kill()
    await server.stop()
    await api.stop()
    return found


async def until(check: Any) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(60):
        while not await check():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


async def is_ready(http: aiohttp.ClientSession, front: FrontProcess) -> bool:
    assert front.process.poll() is None, "the front has ended: its log says why"
    try:
        async with http.get(f"{front.admin}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def waits_for(http: aiohttp.ClientSession, front: FrontProcess, count: int) -> bool:
    async with http.get(f"{front.admin}/waiting/team/chat") as response:
        return bool((await response.json())["waiting"] == count)


def main() -> int:
    """Measure and compare."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder)))
    print(json.dumps(found))
    most = yaml.safe_load(FIGURES.read_text())["most"]
    above = {key: found[key] for key in most if found[key] > most[key]}
    if above:
        print(f"above the threshold: {above}", file=sys.stderr)
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
