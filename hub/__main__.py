"""`python -m hub --root DIR [--port P]`: run the hub; prints one JSON line with its address when it listens."""

from __future__ import annotations

import argparse
import json
import signal
import ssl
import threading
from pathlib import Path

from hub.faults import Rule
from hub.repository import Repositories
from hub.server import Hub, Settings, serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hub", description="A ModelScope hub with faults on demand.")
    parser.add_argument("--root", type=Path, required=True, help="folder with OWNER/NAME[@REVISION]/ repositories")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--token", default="", help="the only token accepted; without it everyone may read")
    parser.add_argument("--connection-rate", type=float, default=0, help="bytes/s of one connection")
    parser.add_argument("--total-rate", type=float, default=0, help="bytes/s of all connections together")
    parser.add_argument("--rtt", type=float, default=0, help="seconds of a round trip (see hub/delay.py)")
    parser.add_argument("--redirect", action="store_true", help="send file requests to a second port, as a CDN")
    parser.add_argument("--range-status", type=int, choices=(200, 206), default=206)
    parser.add_argument("--tls-cert", type=Path, help="PEM with certificate and key: serve https")
    parser.add_argument("--fault", action="append", default=[], help="a rule as JSON (see hub/faults.py)")
    args = parser.parse_args()
    if not args.root.is_dir():
        parser.error(f"--root {args.root} is not a folder")
    settings = Settings(args.token, args.connection_rate, args.total_rate, args.redirect, args.range_status, args.rtt)
    hub = Hub(Repositories(args.root), settings)
    for fault in args.fault:
        hub.faults.add(Rule(**json.loads(fault)))
    tls = None
    if args.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(args.tls_cert)
    server = serve(hub, (args.host, args.port), tls)
    print(json.dumps({"url": server.url, "port": server.port}), flush=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


if __name__ == "__main__":
    main()
