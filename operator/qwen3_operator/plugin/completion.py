"""Shell completion: of `kubectl qwen3` through kubectl's own, and of `kubectl-qwen3` by a script.

kubectl runs the program `kubectl_complete-qwen3` with the words so far, and reads one suggestion a line and at the end
a directive, as cobra writes them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
from collections.abc import Callable, Sequence

from qwen3_operator.controller.kinds import Kind
from qwen3_operator.plugin.arguments import make_parser
from qwen3_operator.plugin.names import KINDS, QWEN3_BATCHES, QWEN3_DEPLOYMENTS

NO_FILES, FILES = 4, 0
"""cobra's ShellCompDirectiveNoFileComp and ShellCompDirectiveDefault."""
Names = Callable[[Sequence[Kind], argparse.Namespace], list[str]]
NAMED = {
    "status": KINDS,
    "chat": (QWEN3_DEPLOYMENTS,),
    "usage": (QWEN3_DEPLOYMENTS,),
    "explain": (QWEN3_DEPLOYMENTS, QWEN3_BATCHES),
    "plan": (QWEN3_DEPLOYMENTS, QWEN3_BATCHES),
}
"""Commands that take a name, and of what."""
SCRIPTS = {
    "bash": """\
_kubectl_qwen3() {
    local line directive=0
    COMPREPLY=()
    while IFS= read -r line; do
        case "$line" in
            :*) directive="${line#:}" ;;
            *) COMPREPLY+=("${line%%$'\\t'*}") ;;
        esac
    done < <(kubectl_complete-qwen3 "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    [ "$directive" = 4 ] || compopt -o default
}
complete -F _kubectl_qwen3 kubectl-qwen3
""",
    "zsh": """\
#compdef kubectl-qwen3
_kubectl_qwen3() {
    local line directive=0
    local -a found
    while IFS= read -r line; do
        case "$line" in
            :*) directive="${line#:}" ;;
            *) found+=("${line%%$'\\t'*}") ;;
        esac
    done < <(kubectl_complete-qwen3 "${(@)words[2,CURRENT]}" 2>/dev/null)
    compadd -a found
    [ "$directive" = 4 ] || _files
}
compdef _kubectl_qwen3 kubectl-qwen3
""",
}


def suggestions(parser: argparse.ArgumentParser, words: Sequence[str], names: Names) -> tuple[list[str], int]:
    """What may stand in the place of the last word, and whether a file may. Pure but for `names`."""
    *before, last = words or [""]
    commands = _commands(parser)
    at = next((word for word in before if word in commands), None)
    flags = _flags(commands[at] if at else parser)
    previous = before[-1] if before else ""
    action = flags.get(previous)
    if action is not None and action.nargs != 0:
        if action.choices:
            return _beginning(last, [str(choice) for choice in action.choices]), NO_FILES
        return [], FILES if action.dest in ("kubeconfig", "filename", "config", "file") else NO_FILES
    if last.startswith("-"):
        return _beginning(last, list(flags)), NO_FILES
    if at is None:
        return _beginning(last, list(commands)), NO_FILES
    if at == "completion":
        return _beginning(last, list(SCRIPTS)), NO_FILES
    takes_value = {flag for flag, it in flags.items() if it.nargs != 0}
    after = list(itertools.pairwise(before))[before.index(at) :]
    positionals = [word for previous, word in after if not word.startswith("-") and previous not in takes_value]
    if at in NAMED and not positionals:
        of_cluster = ("namespace", "context", "kubeconfig", "as_user")
        given = argparse.Namespace(**{dest: _value(before, flags, dest) for dest in of_cluster})
        return _beginning(last, names(NAMED[at], given)), NO_FILES
    return [], NO_FILES


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _flags(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {flag: action for action in parser._actions for flag in action.option_strings}


def _value(before: Sequence[str], flags: dict[str, argparse.Action], dest: str) -> str:
    for position, word in enumerate(before):
        name, equals, value = word.partition("=")
        if name in flags and flags[name].dest == dest:
            return value if equals else next(iter(before[position + 1 :]), "")
    return ""


def _beginning(start: str, words: Sequence[str]) -> list[str]:
    return sorted({word for word in words if word.startswith(start)})


def main(argv: Sequence[str] | None = None) -> int:
    """The program `kubectl_complete-qwen3`."""
    found, directive = suggestions(make_parser(), sys.argv[1:] if argv is None else argv, names_of)
    print(*found, f":{directive}", sep="\n")
    return 0


def names_of(kinds: Sequence[Kind], given: argparse.Namespace) -> list[str]:
    """Names of the namespace; none where the cluster does not say."""
    from qwen3_operator.plugin.api import together
    from qwen3_operator.plugin.connection import connection
    from qwen3_operator.plugin.failure import Failure

    with contextlib.suppress(Failure, OSError), connection(given) as (api, namespace):
        listed = together(*[lambda kind=kind: api.list(kind, namespace, most=500) for kind in kinds])
        return [obj["metadata"]["name"] for listing in listed for obj in listing.items]
    return []
