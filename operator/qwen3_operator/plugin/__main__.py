"""The program `kubectl-qwen3`: kubectl runs it as `kubectl qwen3`.

Nothing is imported here that takes time: `--help` is printed at once, and a command loads what it needs itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qwen3_operator.commands.arguments import EXIT_CODES, add_explain_arguments, add_plan_arguments
from qwen3_operator.plugin.failure import BAD_INPUT, FAILED, Failure

if TYPE_CHECKING:
    from qwen3_operator.plugin.api import Api
    from qwen3_operator.plugin.kubectl import Kubectl

EXAMPLES = """\
  kubectl qwen3 status                    everything in the namespace
  kubectl qwen3 status chat -w            how far it is, until Ctrl-C
  kubectl qwen3 chat chat                 talk to it
  kubectl qwen3 explain chat --gpu L4     whether it would fit another GPU
  kubectl qwen3 bundle                    what a bug report needs"""


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
    if command in ("explain", "plan") and not arguments.name:
        from qwen3_operator.plugin import explain

        return explain.run_offline(arguments)
    if command in ("explain", "plan") and (arguments.filename or arguments.model):
        raise Failure("give a name of the cluster, or a file by -f, or a model by --model", BAD_INPUT)
    if command == "chat":
        return _chat(arguments)
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
    from qwen3_operator.plugin import explain

    return explain.run(arguments, api, namespace)


def _chat(arguments: argparse.Namespace) -> int:
    from qwen3_operator.plugin import chat

    with connection(arguments) as (api, namespace):
        where = chat.endpoint(api, namespace, arguments.name, chat.environment())
    return chat.run(arguments, kubectl_of(arguments), where)


@contextlib.contextmanager
def connection(arguments: argparse.Namespace) -> Iterator[tuple[Api, str]]:
    """The API server and the namespace that the flags say. Raises Failure."""
    from qwen3_operator.plugin.api import Api

    kubectl = kubectl_of(arguments)
    namespace = arguments.namespace or kubectl.namespace()
    with kubectl.proxy() as socket:
        yield Api(socket), namespace


def kubectl_of(arguments: argparse.Namespace) -> Kubectl:
    """kubectl with the flags of this command line. Raises Failure."""
    from qwen3_operator.plugin.kubectl import Kubectl

    given = {"context": arguments.context, "kubeconfig": arguments.kubeconfig, "as": arguments.as_user}
    return Kubectl.found([f"--{flag}={value}" for flag, value in given.items() if value])


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    cluster = argparse.ArgumentParser(add_help=False)
    cluster.add_argument("-n", "--namespace", default="", help="namespace; default: that of the context")
    cluster.add_argument("--context", default="", help="context of the kubeconfig")
    cluster.add_argument("--kubeconfig", default="", metavar="FILE", help="kubeconfig; default: as kubectl finds it")
    cluster.add_argument("--as", default="", dest="as_user", metavar="USER", help="ask as another user")
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    output = argparse.ArgumentParser(add_help=False)
    output.add_argument("-o", "--output", choices=("table", "json"), default="table", help="how to print")

    parser = argparse.ArgumentParser(
        prog="kubectl qwen3",
        description="See what Qwen3 models of a cluster do, and talk to them.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    status = commands.add_parser("status", parents=[cluster, everywhere, output], help="how far something is, and why")
    status.add_argument("name", nargs="?", default="", metavar="NAME", help="or KIND/NAME; without: an overview")
    status.add_argument("-w", "--watch", action="store_true", help="go on until Ctrl-C; in a pipe: a line a change")

    chat = commands.add_parser("chat", parents=[cluster, output], help="talk to a Qwen3Deployment")
    chat.add_argument("name", metavar="NAME")
    chat.add_argument("-p", "--prompt", metavar="TEXT", help="one question; a pipe holds one, too")
    chat.add_argument("--system", default="", metavar="TEXT", help="system prompt")
    chat.add_argument(
        "--thinking", choices=("on", "off", "auto"), default="auto", help="whether the model thinks first"
    )
    chat.add_argument("--max-tokens", type=_positive, metavar="N", help="longest answer")
    chat.add_argument("--temperature", type=float, metavar="T", help="0: always the same answer")
    chat.epilog = "A key is taken from QWEN3_API_KEY, or from the Secret that the Qwen3Deployment names."

    models = commands.add_parser(
        "models", parents=[cluster, everywhere, output], help="checkpoints that are on volumes"
    )
    models.add_argument("--unused", action="store_true", help="only those that nobody serves from")

    usage = commands.add_parser(
        "usage",
        parents=[cluster, everywhere, output],
        help="requests and tokens of each team, where keys are asked for",
    )
    usage.add_argument("name", nargs="?", default="", metavar="NAME", help="of a Qwen3Deployment; without: all")

    for name in ("explain", "plan"):
        explain = commands.add_parser(
            name,
            parents=[cluster],
            help="the plan of a resource and whether it fits" if name == "explain" else "the same as explain",
            epilog=EXIT_CODES,
        )
        explain.add_argument(
            "name", nargs="?", default="", metavar="NAME", help="what is in the cluster; or -f, --model"
        )
        add_plan_arguments(explain, file_needed=False)
        add_explain_arguments(explain)

    commands.add_parser("doctor", parents=[cluster, output], help="what the cluster lacks to serve models")

    bundle = commands.add_parser(
        "bundle", parents=[cluster, everywhere], help="a tar.gz for a bug report, without secrets"
    )
    bundle.add_argument("--file", default="", metavar="FILE", help="where to; default: qwen3-bundle-TIME.tar.gz")

    completion = commands.add_parser("completion", help="print a script for a shell")
    completion.add_argument("shell", choices=("bash", "zsh"))
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
