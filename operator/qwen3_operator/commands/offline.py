"""`explain` and `render`: plans without a cluster."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.commands.output import to_yaml_stream
from qwen3_operator.commands.read import BadInput, read_deployments
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.plan import Plan
from qwen3_operator.settings import Settings


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run one of the two; returns the exit code. Raises BadInput."""
    return _render(arguments, settings) if arguments.command == "render" else _explain(arguments, settings)


def _plans(
    arguments: argparse.Namespace, settings: Settings
) -> Iterator[tuple[dict[str, Any], Qwen3DeploymentSpec, Plan]]:
    from qwen3_operator.commands.explain import Hardware, plan_offline, read_facts  # with rich: only where it is used

    hardware = Hardware(arguments.gpu, arguments.gpu_memory, arguments.gpus_per_node)
    facts, version = read_facts(arguments.config), arguments.engine_version
    if version and EngineVersion.parse(version) is None:
        raise BadInput(f"--engine-version: {version} is not a vLLM version such as 0.33.0")
    for document, spec in read_deployments(arguments.filename):
        yield document["metadata"], spec, plan_offline(spec, settings, hardware, facts, version)


def _explain(arguments: argparse.Namespace, settings: Settings) -> int:
    from rich.console import Console

    from qwen3_operator.commands.explain import as_data, exit_code, print_plan

    code, data = 0, []
    for meta, _, plan in _plans(arguments, settings):
        code = max(code, exit_code(plan))
        if arguments.output == "table":
            print_plan(Console(), meta["name"], plan)
        data.append(as_data(plan))
    if arguments.output == "json":
        print(json.dumps(data[0] if len(data) == 1 else data, indent=2, ensure_ascii=False))
    elif arguments.output == "yaml":
        print(to_yaml_stream(data), end="")
    return code


def _render(arguments: argparse.Namespace, settings: Settings) -> int:
    from qwen3_operator.commands.explain import BAD_INPUT
    from qwen3_operator.commands.render import manifests

    objects, code = [], 0
    for meta, spec, plan in _plans(arguments, settings):
        for problem in plan.problems:
            print(f"qwen3-operator: {meta['name']}: {problem.field}: {problem.message}", file=sys.stderr)
            code = BAD_INPUT
        namespace = meta.get("namespace") or arguments.namespace or "default"
        objects += manifests(namespace, meta["name"], spec, plan, settings)
    print(to_yaml_stream(objects), end="")
    return code
