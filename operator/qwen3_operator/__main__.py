"""The command `qwen3-operator`."""

from __future__ import annotations

import argparse
import logging
import sys

from qwen3_operator.api.crd import crds
from qwen3_operator.commands import offline
from qwen3_operator.commands.arguments import EXIT_CODES, add_explain_arguments, add_plan_arguments
from qwen3_operator.commands.output import to_yaml_stream
from qwen3_operator.commands.read import BadInput
from qwen3_operator.controller.environment import SettingsError
from qwen3_operator.settings import Settings


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        settings = Settings.from_environment()
        if arguments.command == "run":
            return _run(settings)
        if arguments.command == "crd":
            print(to_yaml_stream(crds()), end="")
            return 0
        return offline.run(arguments, settings)
    except (SettingsError, BadInput) as error:
        print(f"qwen3-operator: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="qwen3-operator", description="Serves Qwen3 on Kubernetes.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", help="run the operator; settings come from QWEN3_OPERATOR_* variables")
    commands.add_parser("crd", help="print the CustomResourceDefinitions")
    explain = commands.add_parser(
        "explain",
        help="what Qwen3Deployments and Qwen3Batches come to, and whether they fit",
        epilog=EXIT_CODES,
    )
    render = commands.add_parser("render", help="print every object that the operator would make for them")
    for command in (explain, render):
        add_plan_arguments(command, file_needed=command is render)
    add_explain_arguments(explain)
    render.add_argument("-n", "--namespace", default="", help="namespace where the resource names none")
    return parser


def _run(settings: Settings) -> int:
    from kubernetes.aio.config.config_exception import ConfigException

    from qwen3_operator.controller.cluster import ApiError
    from qwen3_operator.controller.decode import allow_deep_json
    from qwen3_operator.controller.lease import LeaseLost
    from qwen3_operator.controller.log import configure_logging
    from qwen3_operator.controller.program import run_to_its_end
    from qwen3_operator.process import MissingApi, run

    configure_logging(settings.log_format, settings.log_level)
    allow_deep_json()
    known = (ApiError, ConfigException, LeaseLost, MissingApi)
    return run_to_its_end("operator", lambda: run(settings), logging.getLogger(__name__), known)


if __name__ == "__main__":
    sys.exit(main())
