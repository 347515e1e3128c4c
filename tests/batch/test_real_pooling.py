"""Lines for models that embed or rank, answered by a real vLLM: as its server answers them itself.

The models are the tiny Qwen3 in the forms of Qwen3-Embedding and Qwen3-Reranker: what they say means nothing, and is
the same twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.batch.real import CHECKPOINT, PYTHON, RealBatch, posted, serving
from tests.batch.runner import REPOSITORY
from tests.data.make_tiny_qwen3_vl import add_tokens

from qwen3_operator.catalog.entry import lookup

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

Object = dict[str, Any]
ALIKE = 0.01
"""Answers of one model to one text differ by less: bfloat16, alone or beside others."""
NAME = "Tiny"
DOCUMENTS = ["The factorial of 5 is 120.", "San Francisco is a city in California.", "你好"]
QUERY = "Where is San Francisco?"


def line(url: str, **body: Any) -> Object:
    """A line of OpenAI's batch format."""
    return {"custom_id": url, "method": "POST", "url": url, "body": body}


EMBEDDED: dict[str, Object] = {
    "plain": {"input": DOCUMENTS[0]},
    "several": {"input": DOCUMENTS},
    "embeddings": line("/v1/embeddings", model=NAME, input=DOCUMENTS[1], encoding_format="float", user="u"),
    "score": line("/v1/score", text_1=QUERY, text_2=DOCUMENTS),
    "rerank": line("/v1/rerank", query=QUERY, documents=DOCUMENTS, top_n=2),
}
RANKED: dict[str, Object] = {
    "plain": {"query": QUERY, "documents": DOCUMENTS},
    "rerank": line("/v1/rerank", model=NAME, query=QUERY, documents=DOCUMENTS),
    "top": line("/v2/rerank", query=QUERY, documents=DOCUMENTS, top_n=1),
    "score": line("/v1/score", text_1=QUERY, text_2=DOCUMENTS[0]),
    "scores": line("/score", text_1=[QUERY, "你好"], text_2=[DOCUMENTS[1], DOCUMENTS[2]]),
}
REFUSED: dict[str, tuple[Object, str]] = {
    "chat": (line("/v1/chat/completions", messages=[{"role": "user", "content": "x"}]), "unsupported_url"),
    "another model": (line("/v1/rerank", model="bge-reranker", query="x", documents=["y"]), "model_not_found"),
    "no documents": (line("/v1/rerank", query="x"), "invalid_request"),
}


@dataclass(frozen=True)
class Kind:
    """A kind of model with what it is asked."""

    task: str
    lines: dict[str, Object]
    words: Sequence[str] = ()
    """Of its command line, as the operator has them for such a model."""
    tokens: Sequence[str] = ()
    """Tokens that its vocabulary has besides."""


RERANKER = lookup("Qwen/Qwen3-Reranker-0.6B")
assert RERANKER is not None
OVERRIDES = dict(RERANKER.hf_overrides)
KINDS = {
    "embed": Kind("embed", EMBEDDED),
    "rerank": Kind("rerank", RANKED, ["--hf-overrides", json.dumps(OVERRIDES)], OVERRIDES["classifier_from_token"]),
}


def checkpoint(folder: Path, tokens: Sequence[str]) -> Path:
    """The tiny model with more tokens, of which it has learnt nothing."""
    shutil.copytree(CHECKPOINT, folder)
    add_tokens(folder / "tokenizer.json", tokens, special=False)
    return folder


def command(kind: Kind, model: Path) -> list[str]:
    """`vllm serve` of a kind."""
    return [
        *(PYTHON, str(REPOSITORY / "images" / "vllm-cpu" / "vllm"), "serve", str(model)),
        *("--served-model-name", NAME, "--max-model-len", "512", "--enforce-eager", "--kv-cache-memory-bytes=64M"),
        *("--runner", "pooling", *kind.words),
    ]


def asked(url: str, said: Object, task: str) -> Object:
    """What a server answers to a line."""
    path = said.get("url") or {"embed": "/v1/embeddings", "rerank": "/v1/rerank"}[task]
    return posted(f"{url}{path}", {"model": NAME} | said.get("body", said))


def numbers(answer: Object) -> list[float]:
    """Scores in the order of the documents, or embeddings one after another."""
    if "results" in answer:
        return [r["relevance_score"] for r in sorted(answer["results"], key=lambda r: int(r["index"]))]
    if answer["data"] and "score" in answer["data"][0]:
        return [entry["score"] for entry in answer["data"]]
    return [number for entry in answer["data"] for number in entry["embedding"]]


@dataclass(frozen=True)
class Seen:
    """Answers of one kind of model: the server's, the batch's with an engine of its own, the batch's by that server."""

    server: dict[str, Object]
    own: dict[str, Object]
    running: dict[str, Object]


@pytest.fixture(scope="module", params=list(KINDS))
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Every line of a kind, asked in all three ways."""
    kind, folder = KINDS[request.param], tmp_path_factory.mktemp(request.param)
    lines = kind.lines | {name: said for name, (said, _) in REFUSED.items()}
    words = command(kind, checkpoint(folder / "model", kind.tokens))
    config: Object = {"models": [NAME], "task": kind.task, "vocabulary": None}

    def batch(name: str, **how: Any) -> dict[str, Object]:
        it = RealBatch(folder / name, list(lines.values()), **config | how)
        assert it.run(**it.how) == 0, it.log()[-4000:]
        return dict(zip(lines, it.answers(), strict=True))

    with serving(words, folder) as url:
        server = {name: asked(url, said, kind.task) for name, said in kind.lines.items()}
        running = batch("running", engine=[], url=url, concurrency=4)
    return Seen(server, batch("own", engine=words), running)


def test_each_line_has_the_servers_own_answer(seen: Seen) -> None:
    for name, reported in seen.server.items():
        for answer in (seen.own[name], seen.running[name]):
            assert answer["error"] is None, answer
            body = answer["response"]["body"]
            print(name, numbers(reported)[:4], numbers(body)[:4])
            assert body.keys() == reported.keys() and body["model"] == reported["model"] == NAME
            assert body["usage"] == reported["usage"]
            assert numbers(body) == pytest.approx(numbers(reported), abs=ALIKE)


def test_the_numbers_of_two_texts_differ(seen: Seen) -> None:
    """Else nothing would be shown by their being alike."""
    reported = numbers(seen.server["several" if "several" in seen.server else "rerank"])
    size = len(reported) // len(DOCUMENTS)
    first, *others = (reported[begin : begin + size] for begin in range(0, len(reported), size))
    assert max(abs(a - b) for other in others for a, b in zip(first, other, strict=True)) > 2 * ALIKE


def test_the_best_come_first_and_no_more_than_asked(seen: Seen) -> None:
    name, most = ("top", 1) if "top" in seen.own else ("rerank", 2)
    results = seen.own[name]["response"]["body"]["results"]
    scores = [result["relevance_score"] for result in results]
    assert len(results) == most and scores == sorted(scores, reverse=True)
    assert {result["document"]["text"] for result in results} <= set(DOCUMENTS)


@pytest.mark.parametrize("name", REFUSED)
def test_what_such_a_model_cannot_answer_is_an_error_line(seen: Seen, name: str) -> None:
    for answer in (seen.own[name], seen.running[name]):
        assert (answer["response"], answer["error"]["code"]) == (None, REFUSED[name][1]), answer
