"""Runs inside vLLM's own environment: parses command lines with its parser, and lists what the parser knows.

stdin: a JSON list of word lists (what follows `vllm serve`).
stdout: {"errors": [null or words, ...], "options": {spelling: ...}}.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys

from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser


def main() -> None:
    root = FlexibleArgumentParser(prog="vllm")
    serve = ServeSubcommand().subparser_init(root.add_subparsers())
    errors = []
    for words in json.load(sys.stdin):
        stderr = io.StringIO()
        try:
            with contextlib.redirect_stderr(stderr):
                root.parse_args(["serve", *words])
            errors.append(None)
        except SystemExit:
            errors.append(stderr.getvalue().strip().splitlines()[-1])
        except (TypeError, ValueError) as error:
            errors.append(f"{type(error).__name__}: {error}")
    options = {
        text: {"flag": max(action.option_strings, key=lambda name: (name.startswith("--"),)), "nargs": action.nargs}
        for action in serve._actions
        for text in action.option_strings
    }
    json.dump({"errors": errors, "options": options}, sys.stdout)


main()
