"""Runs inside vLLM's own environment and asks its own code.

stdin: {"parse": [words of a line after `vllm serve`, ...], "configure": [lines that start with a folder, ...]}.
stdout, last line: {"errors": [null or text, ...] of "parse", "lengths": [max_model_len or text, ...] of "configure",
"nargs": {spelling: nargs}, "reasoning": [parser names], "tool": [parser names]}.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from argparse import Namespace

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser

ROOT = FlexibleArgumentParser(prog="vllm")
SERVE = ServeSubcommand().subparser_init(ROOT.add_subparsers())


def parse(words: list[str]) -> tuple[Namespace | None, str | None]:
    """The parsed line, or what the parser says against it."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return ROOT.parse_args(["serve", *words]), None
    except SystemExit:
        return None, stderr.getvalue().strip().splitlines()[-1]
    except (TypeError, ValueError) as error:
        return None, f"{type(error).__name__}: {error}"


def configure(words: list[str]) -> int | str:
    """The length that vLLM serves with this line, or why it refuses."""
    namespace, error = parse(words)
    if namespace is None:
        return str(error)
    namespace.model = namespace.model_tag
    try:
        return int(AsyncEngineArgs.from_cli_args(namespace).create_model_config().max_model_len)
    except Exception as refused:  # whatever vLLM says against the line is the answer
        return f"{type(refused).__name__}: {refused}"


def main() -> None:
    asked = json.load(sys.stdin)
    answer = {
        "errors": [parse(words)[1] for words in asked["parse"]],
        "lengths": [configure(words) for words in asked["configure"]],
        "nargs": {text: action.nargs for action in SERVE._actions for text in action.option_strings},
        "reasoning": ReasoningParserManager.list_registered(),
        "tool": sorted({*ToolParserManager.tool_parsers, *ToolParserManager.lazy_parsers}),
    }
    print("\n" + json.dumps(answer))


main()
