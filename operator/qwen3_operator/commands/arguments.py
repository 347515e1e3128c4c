"""The arguments of `explain` and `render`. Imported without what they need: `--help` is printed at once."""

from __future__ import annotations

import argparse

EXIT_CODES = "exit codes: 0 it fits, or nothing is known against it; 1 it does not fit; 2 bad input"


def add_plan_arguments(command: argparse.ArgumentParser, *, file_needed: bool) -> None:
    """The file, and what is known of GPUs and engine."""
    command.add_argument(
        "-f",
        "--filename",
        required=file_needed,
        default="",
        help="YAML file with Qwen3Deployments and Qwen3Batches; -: standard input",
    )
    command.add_argument("--gpu", default="", metavar="NAME", help="the GPU, like H100-80GB")
    command.add_argument("--gpu-memory", default="", metavar="SIZE", help="what torch sees of one GPU, like 79.18Gi")
    command.add_argument("--gpus-per-node", type=int, default=8, metavar="N", help="GPUs of one node (8)")
    command.add_argument("--engine-version", metavar="V", help="vLLM's version, like 0.33.0")
    command.add_argument("--config", metavar="FILE", help="config.json of a model that the catalogue lacks")


def add_explain_arguments(command: argparse.ArgumentParser) -> None:
    """What `explain` takes beside them."""
    command.add_argument(
        "--gpus",
        nargs="?",
        const="",
        metavar="NAMES",
        help="a table instead: which GPUs, how many, and how long a sequence may be; of all known cards, or of those"
        " named, like L4,H100-80GB",
    )
    command.add_argument("--model", default="", metavar="ID", help="with --gpus: a model in the place of a file")
    command.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="how to print")
