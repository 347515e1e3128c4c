"""A config.json says the same to `explain`, which reads the file, and to the operator, which reads the copy of it.

The corpus is every config.json of tests/cases, and every shape of the catalogue with every quantization.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen3_download import report
from qwen3_download.facts import COUNTED, GROUPS, KEYS, PARTS, WHOLE, pick, read_facts, read_files
from qwen3_operator.api.source import ModelSource
from qwen3_operator.catalog import ModelFacts
from qwen3_operator.commands.plans import read_facts as read_for_explain
from qwen3_operator.plan import Weights
from qwen3_operator.reconcile.models import weights_of
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.report import final_report

CASES = Path(__file__).parents[2] / "cases" / "data"


def corpus() -> dict[str, dict[str, Any]]:
    """config.json by a name."""
    text = resources.files("qwen3_operator.catalog").joinpath("qwen3.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    paths = sorted(CASES.glob("*/*config*.json"))
    found: dict[str, dict[str, Any]] = {
        f"{path.parent.name}/{path.name}": json.loads(path.read_text()) for path in paths
    }
    for name, shape in data["shapes"].items():
        found[name] = shape["config"]
        for method, quantization in data["quantizations"].items():
            found[f"{name} {method}"] = shape["config"] | {"quantization_config": quantization}
    return found


CORPUS = corpus()


def reported(folder: Path) -> Weights:
    """What the operator knows after a download into `folder`: through the termination message and the status."""
    said = {"config": read_facts(folder), "checkpoint": read_files(folder)}
    message = report.encode({"result": "Complete", "commit": "c", "verifiedBy": "hub", "bytes": 1, "files": 1} | said)
    terminated = {"exitCode": 0, "message": message.decode(), "finishedAt": "2026-11-27T00:00:00Z"}
    pod = {"status": {"containerStatuses": [{"name": "download", "state": {"terminated": terminated}}]}}
    found = final_report([PodView(pod)], "Complete")
    assert found is not None
    copy = {"commit": "c", "claim": "m", "path": "p"} | {key: found[key] for key in said if key in found}
    return weights_of({"metadata": {"name": "m"}, "status": {"model": copy}}, "m", ModelSource(id="a/b"))


@pytest.mark.parametrize("name", CORPUS)
def test_three_ways_one_answer(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CORPUS[name]))
    from_file = read_for_explain(str(tmp_path / "config.json"))
    assert from_file is not None
    assert reported(tmp_path).facts == from_file == ModelFacts.from_config(CORPUS[name])


def test_modelopts_own_file_is_read_by_all(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CORPUS["8b"]))
    beside = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(beside))
    from_file = read_for_explain(str(tmp_path / "config.json"))
    assert from_file is not None and from_file.quantization is not None
    assert (from_file.quantization.method, from_file.quantization.bits, from_file.quantization.group_size) == (
        *("modelopt", 4),
        16,
    )
    assert reported(tmp_path).facts == from_file


class Spy(dict[str, Any]):
    """A map that remembers what is asked of it, in all its maps."""

    def __init__(self, content: Mapping[str, Any], asked: set[str]) -> None:
        super().__init__({k: Spy(v, asked) if isinstance(v, Mapping) else v for k, v in content.items()})
        self.asked = asked

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def named() -> list[str]:
    """Every key that the reader asks for, over the whole corpus, of what it finds there."""
    asked: set[str] = set()
    for config in CORPUS.values():
        ModelFacts.from_config(Spy(config, asked))
    return sorted(asked)


@pytest.mark.parametrize("key", named())
def test_the_downloader_copies_what_the_reader_asks_for(key: str) -> None:
    assert key in KEYS | PARTS | WHOLE | {GROUPS, COUNTED}


def test_the_largest_config_of_the_corpus_leaves_half_of_the_message() -> None:
    longest = max(len(json.dumps(pick(config), separators=(",", ":"))) for config in CORPUS.values())
    assert longest < report.LIMIT / 2
