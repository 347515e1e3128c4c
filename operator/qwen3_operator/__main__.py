"""The command `qwen3-operator`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

import yaml

from qwen3_operator.api.crd import crds
from qwen3_operator.settings import Settings, SettingsError


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="qwen3-operator", description="Serves Qwen3 on Kubernetes.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="run the operator; settings come from QWEN3_OPERATOR_* variables")
    commands.add_parser("crd", help="print the CustomResourceDefinitions")
    arguments = parser.parse_args(argv)
    if arguments.command == "crd":
        print("---\n".join(to_yaml(crd) for crd in crds()), end="")
        return 0
    return _run()


def to_yaml(manifest: object) -> str:
    """One manifest as YAML, without anchors."""
    return yaml.dump(manifest, sort_keys=False, width=120, Dumper=_NoAliases)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _run() -> int:
    import uvloop
    from kubernetes.aio.config.config_exception import ConfigException

    from qwen3_operator.cluster import ApiError
    from qwen3_operator.process import LeaseLost, MissingApi, run

    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        print(f"qwen3-operator: {error}", file=sys.stderr)
        return 2
    _configure_logging(settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except (ApiError, ConfigException, LeaseLost, MissingApi) as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


def _configure_logging(settings: Settings) -> None:
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        from pythonjsonlogger.json import JsonFormatter

        handler.setFormatter(
            JsonFormatter(
                "{levelname}{name}{message}",
                style="{",
                timestamp=True,
                rename_fields={"levelname": "level", "name": "logger"},
            )
        )
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel(logging.WARNING if settings.log_level != "DEBUG" else logging.DEBUG)


if __name__ == "__main__":
    sys.exit(main())
