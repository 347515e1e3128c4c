"""A person's shell: the commands of the documents run in it as they are written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devcluster import tools
from tests.documents.snippets import ROOT

Shell = Callable[[str], str]

# What `make test` hands its own commands, and a person's shell does not have: by these a `make` of the documents would
# believe that it is part of another, and print which folder it enters.
_OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR"}


def shell(
    programs: Path,
    kubeconfig: str | Path,
    *,
    names: Sequence[str] = ("kubectl",),
    folder: Path = ROOT,
    seconds: int = 120,
    variables: Mapping[str, str] | None = None,
) -> Shell:
    """Run a command in `folder`, and return what it prints; one that fails fails the test.

    `programs`: a folder for links to the programs `names`, which come first on the PATH. `variables`: more of them.
    """
    programs.mkdir(exist_ok=True)
    for name, path in tools.ensure(list(names)).items():
        (programs / name).symlink_to(path)
    environment = {
        **{name: value for name, value in os.environ.items() if name not in _OF_MAKE},
        "KUBECONFIG": str(kubeconfig),
        "PATH": f"{programs}:{os.environ['PATH']}",
        **(variables or {}),
    }

    def run(command: str) -> str:
        words = ["bash", "-o", "pipefail", "-c", command]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run
