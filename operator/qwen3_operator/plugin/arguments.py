"""The command line of `kubectl qwen3`."""

from __future__ import annotations

import argparse

from qwen3_operator.commands.arguments import EXIT_CODES, add_explain_arguments, add_plan_arguments

EXAMPLES = """\
  kubectl qwen3 status                    everything in the namespace
  kubectl qwen3 status chat -w            how far it is, until Ctrl-C
  kubectl qwen3 chat chat                 talk to it
  kubectl qwen3 explain chat --gpu L4     whether it would fit another GPU
  kubectl qwen3 bundle                    what a bug report needs"""


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
        if name == "plan":
            words = "instead: servers that so many users at the same time need, by what was measured (spec.benchmark)"
            explain.add_argument("--users", type=_positive, metavar="N", help=words)

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
