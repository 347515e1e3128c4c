"""`explain` and `render`: plans without a cluster."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from qwen3_operator.api.model import Qwen3Model
from qwen3_operator.commands.output import to_yaml_stream
from qwen3_operator.commands.plans import (
    BAD_INPUT,
    DOES_NOT_FIT,
    Hardware,
    Planned,
    checked_version,
    of_version,
    plan_offline,
    read_facts,
)
from qwen3_operator.commands.read import BadInput, Resources, read_resources
from qwen3_operator.commands.render import model_manifests, shared_model_manifests
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.engine.gpu import known_gpus
from qwen3_operator.naming import model_name
from qwen3_operator.settings import Settings


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run one of the two; returns the exit code. Raises BadInput."""
    return _render(arguments, settings) if arguments.command == "render" else _explain(arguments, settings)


def _plans(arguments: argparse.Namespace, settings: Settings, resources: Resources) -> Iterator[Planned]:
    hardware = Hardware(arguments.gpu, arguments.gpu_memory, arguments.gpus_per_node)
    facts, version = read_facts(arguments.config), checked_version(arguments.engine_version)
    for user in resources.users:
        yield plan_offline(user, settings, hardware, facts, version)


def _explain(arguments: argparse.Namespace, settings: Settings) -> int:
    from rich.console import Console  # only where it is used

    from qwen3_operator.commands.explain import as_data, print_plan

    if bool(arguments.filename) == bool(arguments.model):
        raise BadInput("give a file by -f, or a model by --model")
    if arguments.gpus is not None:
        return _explain_gpus(arguments, settings)
    if arguments.model:
        raise BadInput("--model goes with --gpus: for one GPU give a file by -f")
    code, data = 0, []
    for planned in _plans(arguments, settings, _with_users(arguments.filename)):
        code = max(code, planned.exit_code())
        if arguments.output == "table":
            print_plan(Console(), planned.resource.title, planned.plan)
        data.append(as_data(planned.plan))
    print_data(arguments.output, data)
    return code


def _explain_gpus(arguments: argparse.Namespace, settings: Settings) -> int:
    """0 where some GPUs serve every model that is asked for, else 1. Raises BadInput."""
    from rich.console import Console

    from qwen3_operator.commands.gpus import as_data, choose, print_choice, spec_of_model

    facts, version = read_facts(arguments.config), checked_version(arguments.engine_version)
    if arguments.model:
        servers = [spec_of_model(arguments.model)]
    else:
        servers = [user.server for user in _with_users(arguments.filename).users]
    names = [name for name in arguments.gpus.split(",") if name] or ([arguments.gpu] if arguments.gpu else [])
    cards = [gpu for name in names for gpu in Hardware(name, arguments.gpu_memory).gpus() or ()] or known_gpus()
    choices = [
        choose(of_version(server, version), settings, facts, cards, arguments.gpus_per_node) for server in servers
    ]
    if arguments.output == "table":
        for choice in choices:
            print_choice(Console(), choice)
    print_data(arguments.output, [as_data(choice) for choice in choices])
    return 0 if all(any(row.serves for row in choice.rows) for choice in choices) else DOES_NOT_FIT


def _with_users(filename: str) -> Resources:
    """What a file holds. Raises BadInput where nothing of it has a plan."""
    resources = read_resources(filename, "default")
    if not resources.users:
        raise BadInput(f"{filename}: a {Qwen3Model.KIND} alone has no plan: add what serves it")
    return resources


def print_data(output: str, data: list[dict[str, Any]]) -> None:
    """As JSON or YAML; nothing where a table was asked for."""
    if output == "json":
        print(json.dumps(data[0] if len(data) == 1 else data, indent=2, ensure_ascii=False))
    elif output == "yaml":
        print(to_yaml_stream(data), end="")


def _render(arguments: argparse.Namespace, settings: Settings) -> int:
    resources = read_resources(arguments.filename, arguments.namespace or "default")
    objects: list[dict[str, Any]] = []
    for model in resources.models:
        objects += model_manifests(model.meta["namespace"], model.meta["name"], model.spec, settings)
    shared: set[tuple[str, str]] = set()
    code = 0
    for planned in _plans(arguments, settings, resources):
        user = planned.resource
        for problem in planned.plan.problems:
            print(f"qwen3-operator: {user.title}: {problem.field}: {problem.message}", file=sys.stderr)
            code = BAD_INPUT
        name = (user.meta["namespace"], model_name(user.server.source))
        if user.made_ahead is None and name not in shared:  # the first user of a model makes it for all
            objects += shared_model_manifests(user.meta["namespace"], user.server, settings)
            shared.add(name)
        try:
            objects += planned.own_manifests()
        except PatchError as error:
            raise BadInput(f"{arguments.filename}: {user.title}: spec.{error}") from error
    print(to_yaml_stream(objects), end="")
    return code
