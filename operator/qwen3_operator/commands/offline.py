"""`explain` and `render`: plans without a cluster."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from qwen3_operator.api.model import Qwen3Model
from qwen3_operator.commands.output import to_yaml_stream
from qwen3_operator.commands.plans import BAD_INPUT, Hardware, Planned, plan_offline, read_facts
from qwen3_operator.commands.read import BadInput, Resources, read_resources
from qwen3_operator.commands.render import model_manifests, shared_model_manifests
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.naming import model_name
from qwen3_operator.settings import Settings


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run one of the two; returns the exit code. Raises BadInput."""
    return _render(arguments, settings) if arguments.command == "render" else _explain(arguments, settings)


def _plans(arguments: argparse.Namespace, settings: Settings, resources: Resources) -> Iterator[Planned]:
    hardware = Hardware(arguments.gpu, arguments.gpu_memory, arguments.gpus_per_node)
    facts, version = read_facts(arguments.config), arguments.engine_version
    if version and EngineVersion.parse(version) is None:
        raise BadInput(f"--engine-version: {version} is not a vLLM version such as 0.33.0")
    for user in resources.users:
        yield plan_offline(user, settings, hardware, facts, version)


def _explain(arguments: argparse.Namespace, settings: Settings) -> int:
    from rich.console import Console  # only where it is used

    from qwen3_operator.commands.explain import as_data, print_plan

    code, data = 0, []
    resources = read_resources(arguments.filename, "default")
    if not resources.users:
        raise BadInput(f"{arguments.filename}: a {Qwen3Model.KIND} alone has no plan: add what serves it")
    for planned in _plans(arguments, settings, resources):
        code = max(code, planned.exit_code())
        if arguments.output == "table":
            print_plan(Console(), planned.resource.title, planned.plan)
        data.append(as_data(planned.plan))
    if arguments.output == "json":
        print(json.dumps(data[0] if len(data) == 1 else data, indent=2, ensure_ascii=False))
    elif arguments.output == "yaml":
        print(to_yaml_stream(data), end="")
    return code


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
