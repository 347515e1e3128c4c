"""Plain `LLM.generate`, as a user without this project writes it: `python generate.py CHECKPOINT < requests`.

A request is the messages of a chat, the template's kwargs and the sampling; the file ANSWERS gets the ids of the tokens
of each answer.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main(checkpoint: str) -> None:
    from vllm import LLM, SamplingParams

    requests = json.load(sys.stdin)
    llm = LLM(checkpoint, max_model_len=8192, enforce_eager=True, kv_cache_memory_bytes=64_000_000)
    tokenizer = llm.get_tokenizer()
    prompts = [
        tokenizer.apply_chat_template(
            request["messages"], tokenize=False, add_generation_prompt=True, **request["chat_template_kwargs"]
        )
        for request in requests
    ]
    sampling = [SamplingParams(**request["sampling"]) for request in requests]
    answers = llm.generate(prompts, sampling, use_tqdm=False)
    with Path(os.environ["ANSWERS"]).open("w", encoding="utf-8") as file:  # vLLM itself writes to stdout
        json.dump([list(answer.outputs[0].token_ids) for answer in answers], file)


if __name__ == "__main__":
    main(sys.argv[1])
