"""The command `python -m qwen3_front`."""

from __future__ import annotations

import asyncio
import logging
import sys

import uvloop
from kubernetes.aio.config.config_exception import ConfigException

from qwen3_front.process import run
from qwen3_front.settings import Settings, SettingsError
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.log import configure_logging


def main() -> int:
    """Run the front; returns the exit code."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        print(f"qwen3-front: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_format, settings.log_level)
    log = logging.getLogger("qwen3_front")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except (ApiError, ConfigException, OSError) as error:
        log.error("%s", error)
        return 1
    except Exception:
        log.critical("the front ends by a fault of its own", exc_info=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
