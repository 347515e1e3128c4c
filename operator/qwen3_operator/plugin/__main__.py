"""The program `kubectl-qwen3`: kubectl runs it as `kubectl qwen3`.

Nothing is imported here that takes time: `--help` is printed at once, and a command loads what it needs itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qwen3_operator.plugin.arguments import make_parser
from qwen3_operator.plugin.failure import BAD_INPUT, FAILED, Failure

if TYPE_CHECKING:
    from qwen3_operator.plugin.api import Api


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    arguments = make_parser().parse_args(argv)
    try:
        return _run(arguments)
    except Failure as failure:
        print(f"kubectl qwen3: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command
    if command == "completion":
        from qwen3_operator.plugin.completion import SCRIPTS

        print(SCRIPTS[arguments.shell], end="")
        return 0
    counts = command == "plan" and arguments.users is not None
    if counts and (not arguments.name or arguments.filename or arguments.model):
        raise Failure("--users goes by what was measured in the cluster: give the name of a Qwen3Deployment", BAD_INPUT)
    if command in ("explain", "plan") and not arguments.name:
        from qwen3_operator.plugin import explain

        return explain.run_offline(arguments)
    if command in ("explain", "plan") and (arguments.filename or arguments.model):
        raise Failure("give a name of the cluster, or a file by -f, or a model by --model", BAD_INPUT)
    if command == "chat":
        return _chat(arguments)
    from qwen3_operator.plugin.connection import connection

    with connection(arguments) as (api, namespace):
        return _in_cluster(command, arguments, api, namespace)


def _in_cluster(command: str, arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    if command == "status":
        from qwen3_operator.plugin import status

        return status.run(arguments, api, namespace)
    if command == "models":
        from qwen3_operator.plugin import models

        return models.run(arguments, api, namespace)
    if command == "usage":
        from qwen3_operator.plugin import usage

        return usage.run(arguments, api, namespace)
    if command == "doctor":
        from qwen3_operator.plugin import doctor

        return doctor.run(arguments, api, namespace)
    if command == "bundle":
        from qwen3_operator.plugin import bundle

        return bundle.run(arguments, api, namespace)
    if command == "plan" and arguments.users is not None:
        from qwen3_operator.plugin import plan_users

        return plan_users.run(arguments, api, namespace)
    from qwen3_operator.plugin import explain

    return explain.run(arguments, api, namespace)


def _chat(arguments: argparse.Namespace) -> int:
    from qwen3_operator.plugin import chat
    from qwen3_operator.plugin.connection import connection, kubectl_of

    with connection(arguments) as (api, namespace):
        where = chat.endpoint(api, namespace, arguments.name, chat.environment())
    return chat.run(arguments, kubectl_of(arguments), where)


if __name__ == "__main__":
    sys.exit(main())
