"""The cluster that a command line means: kubectl finds it, and signs in."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from qwen3_operator.plugin.api import Api
from qwen3_operator.plugin.kubectl import Kubectl


@contextlib.contextmanager
def connection(arguments: argparse.Namespace) -> Iterator[tuple[Api, str]]:
    """The API server and the namespace that the flags say. Raises Failure."""
    kubectl = kubectl_of(arguments)
    namespace = arguments.namespace or kubectl.namespace()
    with kubectl.proxy() as socket:
        yield Api(socket), namespace


def kubectl_of(arguments: argparse.Namespace) -> Kubectl:
    """kubectl with the flags of this command line. Raises Failure."""
    given = {"context": arguments.context, "kubeconfig": arguments.kubeconfig, "as": arguments.as_user}
    return Kubectl.found([f"--{flag}={value}" for flag, value in given.items() if value])
