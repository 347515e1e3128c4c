"""The tutorial's two offline examples, as the documented Qwen3Batches, beside `LLM.generate` token by token.

The model is the tiny one and the temperature 0, so that both must say the same; the rest is as it is documented.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.batch.real import CHECKPOINT, ENGINE, NAME, PYTHON, RealBatch, environment
from tests.batch.runner import REPOSITORY
from tests.unit.test_batch_plan import plan

from qwen3_operator.api.batch import Qwen3BatchSpec

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

EXAMPLE = REPOSITORY / "examples" / "batch.yaml"
BATCHES = [doc for doc in yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8")) if doc["kind"] == "Qwen3Batch"]
ENDS = json.loads((CHECKPOINT / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]


def of_the_tiny_model(manifest: dict[str, Any]) -> Qwen3BatchSpec:
    """The documented batch with the ids of this model's end tokens, and sure of its answers."""
    sampling = manifest["spec"]["sampling"] | {"temperature": "0", "stopTokenIds": ENDS}
    return Qwen3BatchSpec.model_validate(manifest["spec"] | {"sampling": sampling})


def by_the_batch(folder: Path, spec: Qwen3BatchSpec) -> list[list[int]]:
    """Ids of the tokens of each answer."""
    runner = plan(spec).runner
    engine = [*ENGINE, "--max-model-len=8192"]
    config = {
        key: getattr(runner, key) for key in ("thinks", "thinks_by_default", "sampling_thinking", "sampling_plain")
    }
    lines = [{"prompt": prompt, "return_token_ids": True} for prompt in spec.input.prompts or ()]
    batch = RealBatch(folder, lines, **config | {"engine": engine, "models": [NAME]})
    assert batch.run(**batch.how) == 0, batch.log()[-4000:]
    return [answer["response"]["body"]["choices"][0]["token_ids"] for answer in batch.answers()]


def by_generate(folder: Path, specs: list[Qwen3BatchSpec]) -> list[list[int]]:
    """The same by `LLM.generate`, for all batches in one engine."""
    requests = [
        {
            "messages": [{"role": "user", "content": prompt}],
            "chat_template_kwargs": {"enable_thinking": spec.sampling.thinking == "Enabled"},
            "sampling": {
                "temperature": 0,
                "top_p": float(spec.sampling.top_p or 1),
                "top_k": spec.sampling.top_k,
                "min_p": float(spec.sampling.min_p or 0),
                "max_tokens": spec.sampling.max_tokens,
                "stop_token_ids": spec.sampling.stop_token_ids,
            },
        }
        for spec in specs
        for prompt in spec.input.prompts or ()
    ]
    target = folder / "answers.json"
    subprocess.run(
        [PYTHON, str(Path(__file__).with_name("generate.py")), str(CHECKPOINT)],
        input=json.dumps(requests),
        text=True,
        env=environment() | {"ANSWERS": str(target), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"},
        check=True,
        capture_output=True,
    )
    found: list[list[int]] = json.loads(target.read_text(encoding="utf-8"))
    return found


def test_the_examples_are_the_tutorials_two() -> None:
    reported = [
        (s["thinking"], s["temperature"], s["topP"], s["topK"], s["minP"], s["maxTokens"], s["stopTokenIds"])
        for s in (manifest["spec"]["sampling"] for manifest in BATCHES)
    ]
    ends = [151645, 151643]
    assert reported == [
        ("Enabled", "0.6", "0.95", 20, "0", 4096, ends),
        ("Disabled", "0.7", "0.8", 20, "0", 4096, ends),
    ]


def test_they_answer_as_generate_does(tmp_path: Path) -> None:
    specs = [of_the_tiny_model(manifest) for manifest in BATCHES]
    ours = [tokens for i, spec in enumerate(specs) for tokens in by_the_batch(tmp_path / str(i), spec)]
    theirs = by_generate(tmp_path, specs)
    print(ours, theirs)
    assert ours == theirs
    assert all(ours)
