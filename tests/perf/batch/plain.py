"""Plain `LLM.generate` of the lines in a file, without anything around it: what a batch is compared with."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(source: str, model: str, max_tokens: int) -> None:
    from vllm import LLM, SamplingParams

    llm = LLM(model, max_model_len=2048, enforce_eager=True, kv_cache_memory_bytes=64_000_000)
    tokenizer = llm.get_tokenizer()
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": json.loads(line)["prompt"]}], tokenize=False, add_generation_prompt=True
        )
        for line in Path(source).read_text(encoding="utf-8").splitlines()
    ]
    started = time.monotonic()
    answers = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=max_tokens), use_tqdm=False)
    seconds = time.monotonic() - started
    tokens = sum(len(answer.outputs[0].token_ids) for answer in answers)
    print(json.dumps({"tokens": tokens, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
