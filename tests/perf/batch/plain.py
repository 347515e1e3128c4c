"""Plain `LLM.generate` of the lines in a file, without anything around it: what a batch is compared with.

`python plain.py LINES MODEL MAX_TOKENS RESULT [KEYWORD=JSON ...]`: the keywords go to `LLM`. RESULT is written as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main(source: str, model: str, max_tokens: int, result: str, keywords: dict[str, Any]) -> None:
    from vllm import LLM, SamplingParams

    llm = LLM(model, **keywords)
    tokenizer = llm.get_tokenizer()
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": json.loads(line)["prompt"]}], tokenize=False, add_generation_prompt=True
        )
        for line in Path(source).read_text(encoding="utf-8").splitlines()
    ]
    sampling = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    started = time.monotonic()
    answers = llm.generate(prompts, sampling, use_tqdm=False)
    seconds = time.monotonic() - started
    tokens = sum(len(answer.outputs[0].token_ids) for answer in answers)
    read = sum(len(answer.prompt_token_ids) for answer in answers)
    report = {"tokens": tokens, "prompt_tokens": read, "seconds": seconds}
    Path(result).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    source, model, max_tokens, result, *words = sys.argv[1:]
    given = (word.partition("=") for word in words)
    main(source, model, int(max_tokens), result, {name: json.loads(value) for name, _, value in given})
