"""The command `python -m qwen3_front`."""

from __future__ import annotations

import logging
import sys

from kubernetes.aio.config.config_exception import ConfigException

from qwen3_front.process import run
from qwen3_front.settings import Settings
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.environment import SettingsError
from qwen3_operator.controller.log import configure_logging
from qwen3_operator.controller.program import run_to_its_end


def main() -> int:
    """Run the front; returns the exit code."""
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        print(f"qwen3-front: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_format, settings.log_level)
    known = (ApiError, ConfigException, OSError)
    return run_to_its_end("front", lambda: run(settings), logging.getLogger("qwen3_front"), known)


if __name__ == "__main__":
    sys.exit(main())
