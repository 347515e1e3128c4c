"""A registry of metrics, served as a program serves its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server


@contextlib.contextmanager
def served(registry: CollectorRegistry) -> Iterator[int]:
    """Serve it on 127.0.0.1; gives the port."""
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
