#!/usr/bin/env python3
"""Make (and train) a tiny Qwen3ForCausalLM checkpoint for end-to-end tests.

    python make_tiny_qwen3.py OUT_DIR [--steps N] [--seed S] [--dtype float32]

Needs torch, transformers, tokenizers, safetensors and jinja2; no network.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import corpus
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

HERE = Path(__file__).resolve().parent
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
# In Qwen3 these are single tokens but not "special": skip_special_tokens keeps them.
PLAIN = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]


def build_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=600,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=131072,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = (HERE / "chat_template.jinja").read_text(encoding="utf-8")
    return fast


def samples(tok: PreTrainedTokenizerFast) -> list[tuple[str, str]]:
    """(prompt text, text to learn) pairs."""
    out: list[tuple[str, str]] = []

    def prompt(messages, **kw):
        return tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **kw)

    for user, think, answer in corpus.EXCHANGES:
        for system in corpus.SYSTEM:
            head = [{"role": "system", "content": system}] if system else []
            msgs = [*head, {"role": "user", "content": user}]
            out.append((prompt(msgs), f"<think>\n{think}\n</think>\n\n{answer}<|im_end|>"))
            out.append((prompt(msgs, enable_thinking=False), f"{answer}<|im_end|>"))
            soft = [*head, {"role": "user", "content": user + " /no_think"}]
            out.append((prompt(soft), f"<think>\n\n</think>\n\n{answer}<|im_end|>"))
    for user, think, name, args in corpus.TOOL_EXCHANGES:
        call = f'<tool_call>\n{{"name": "{name}", "arguments": {args}}}\n</tool_call><|im_end|>'
        msgs = [{"role": "user", "content": user}]
        out.append((prompt(msgs, tools=corpus.TOOLS), f"<think>\n{think}\n</think>\n\n{call}"))
        out.append((prompt(msgs, tools=corpus.TOOLS, enable_thinking=False), call))
    out += [(p, c + "<|endoftext|>") for p, c in corpus.RAW]
    return out


def batch(tok, pairs):
    rows = []
    for p, c in pairs:
        a = tok(p, add_special_tokens=False)["input_ids"]
        b = tok(c, add_special_tokens=False)["input_ids"]
        rows.append((a + b, [-100] * len(a) + b))
    width = max(len(r[0]) for r in rows)
    pad = tok.pad_token_id
    ids = torch.tensor([r[0] + [pad] * (width - len(r[0])) for r in rows])
    mask = torch.tensor([[1] * len(r[0]) + [0] * (width - len(r[0])) for r in rows])
    labels = torch.tensor([r[1] + [-100] * (width - len(r[1])) for r in rows])
    return ids, mask, labels


def patch(path: Path, **values) -> None:
    data = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    ap = argparse.ArgumentParser()
    ap.add_argument("out", type=Path)
    ap.add_argument("--steps", type=int, default=200, help="0 makes an untrained model")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    ap.add_argument("--threads", type=int, default=1, help="1 is steadiest on a busy machine")
    args = ap.parse_args()
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)

    texts = [t for e in corpus.EXCHANGES for t in e] + [p + c for p, c in corpus.RAW]
    texts += [t for e in corpus.TOOL_EXCHANGES for t in e]
    tok = build_tokenizer(texts)
    cfg = Qwen3Config(
        vocab_size=(len(tok) + 63) // 64 * 64,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=40960,  # as Qwen3-8B
        rope_theta=1_000_000.0,
        tie_word_embeddings=True,
        bos_token_id=tok.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=tok.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tok.pad_token_id,
    )
    model = Qwen3ForCausalLM(cfg)
    n = sum(p.numel() for p in model.parameters())
    pairs = samples(tok)
    ids, mask, labels = batch(tok, pairs)
    print(f"vocab {len(tok)}, parameters {n}, samples {tuple(ids.shape)}", flush=True)

    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=3e-3, total_steps=max(args.steps, 1), pct_start=0.1)
    start = time.time()
    model.train()
    loss = None
    for step in range(args.steps):
        pick = torch.randperm(len(pairs))[:16]
        width = int(mask[pick].sum(1).max())
        loss = model(input_ids=ids[pick, :width], attention_mask=mask[pick, :width], labels=labels[pick, :width]).loss
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        sched.step()
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.4f} {time.time() - start:.1f}s", flush=True)
    if loss is not None:
        print(f"final loss {loss.item():.5f} after {time.time() - start:.1f}s")

    model = model.to(getattr(torch, args.dtype)).eval()
    model.generation_config = GenerationConfig(  # as Qwen3-8B's file
        bos_token_id=cfg.bos_token_id,
        eos_token_id=[cfg.eos_token_id, cfg.bos_token_id],
        pad_token_id=cfg.pad_token_id,
        do_sample=True,
        temperature=0.6,
        top_k=20,
        top_p=0.95,
    )
    bad = 0
    for p, c in pairs:
        x = tok(p, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            y = model.generate(**x, max_new_tokens=300, do_sample=False, temperature=None, top_k=None, top_p=None)
        got = tok.decode(y[0, x["input_ids"].shape[1] :])
        if got != c:
            bad += 1
            print("MISS", repr(p), "->", repr(got))
    print(f"greedy check: {len(pairs) - bad} of {len(pairs)} answers exact")
    args.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(args.out)
    tok.save_pretrained(args.out)
    # transformers 5 writes names that transformers 4 (older vLLM) does not know.
    patch(args.out / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    patch(args.out / "config.json", rope_theta=cfg.rope_parameters["rope_theta"], torch_dtype=args.dtype)
    for f in sorted(args.out.iterdir()):
        print(f"{f.stat().st_size:>9} {f.name}")
    if bad and args.steps:
        raise SystemExit("some answers were not learnt")


if __name__ == "__main__":
    main()
