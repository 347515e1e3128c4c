"""Lines with images by data URL, answered by a real vLLM: as its server answers them itself.

The model is the tiny Qwen3 with eyes that have learnt nothing: what it says of an image means nothing, and is the same
twice.
"""

from __future__ import annotations

import base64
import struct
import subprocess
import zlib
from typing import Any

import pytest
from tests.batch.real import CHECKPOINT, PYTHON, RealBatch, environment, posted, serving
from tests.batch.runner import REPOSITORY, content

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

Object = dict[str, Any]
NAME, QUESTION = "Tiny-VL", "5的阶乘是多少?"
PLAIN = {"enable_thinking": False}


def png(side: int, *colour: int) -> bytes:
    """A square of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chat(*images: bytes, url: str = "data:image/png;base64,") -> Object:
    """A line of OpenAI's batch format with images before the question."""
    parts: list[Object] = [
        {"type": "image_url", "image_url": {"url": url + base64.b64encode(image).decode()}} for image in images
    ]
    said = {"role": "user", "content": [*parts, {"type": "text", "text": QUESTION}]}
    body = {"model": NAME, "messages": [said], "temperature": 0, "max_tokens": 20, "chat_template_kwargs": PLAIN}
    body |= {"logprobs": True, "top_logprobs": 3}
    return {"custom_id": "x", "method": "POST", "url": "/v1/chat/completions", "body": body}


RED, BLUE = png(64, 255, 0, 0), png(64, 0, 0, 255)
LINES: dict[str, Object] = {
    "red": chat(RED),
    "blue": chat(BLUE),
    "large": chat(png(128, 255, 0, 0)),
    "two": chat(RED, BLUE),
    "none": chat(),
}
REFUSED: dict[str, Object] = {
    "no image": chat(b"this is no image"),
    "no address": chat(RED, url="nonsense:"),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Object]]:
    """Answers of the server, of a batch with an engine of its own, and of a batch that asks that server."""
    folder = tmp_path_factory.mktemp("images")
    maker = [PYTHON, str(CHECKPOINT.with_name("make_tiny_qwen3_vl.py")), str(folder / "model")]
    subprocess.run(maker, env=environment(), check=True)
    words = [
        *(PYTHON, str(REPOSITORY / "images" / "vllm-cpu" / "vllm"), "serve", str(folder / "model")),
        *("--served-model-name", NAME, "--max-model-len", "512", "--enforce-eager", "--kv-cache-memory-bytes=64M"),
        *("--limit-mm-per-prompt", '{"video": 0}'),
    ]
    lines = LINES | REFUSED

    def batch(name: str, **how: Any) -> dict[str, Object]:
        it = RealBatch(folder / name, list(lines.values()), models=[NAME], vocabulary=None, **how)
        assert it.run(**it.how) == 0, it.log()[-4000:]
        return dict(zip(lines, it.answers(), strict=True))

    with serving(words, folder) as url:
        server = {name: posted(f"{url}{line['url']}", line["body"]) for name, line in LINES.items()}
        running = batch("running", engine=[], url=url, concurrency=4)
    return {"server": server, "running": running, "own": batch("own", engine=words)}


def test_each_line_has_the_servers_own_answer(seen: dict[str, dict[str, Object]]) -> None:
    for name, reported in seen["server"].items():
        for way in ("running", "own"):
            answer = seen[way][name]
            assert answer["error"] is None, answer
            body = answer["response"]["body"]
            assert body["choices"][0]["message"] == reported["choices"][0]["message"], (name, way)
            assert body["usage"] == reported["usage"]
            assert body.keys() == reported.keys()


def test_the_image_is_seen(seen: dict[str, dict[str, Object]]) -> None:
    """It takes tokens by its size, and another image has another answer: the chances of the first token show it."""
    usage = {name: answer["usage"]["prompt_tokens"] for name, answer in seen["server"].items()}
    image, around = 64 * 64 // 32**2, 3  # its begin, its end, a line break
    assert usage["red"] == usage["blue"] == usage["none"] + image + around
    assert usage["large"] == usage["none"] + 4 * image + around
    assert usage["two"] == usage["none"] + 2 * (image + around)
    chances = {name: answer["choices"][0]["logprobs"]["content"][0] for name, answer in seen["server"].items()}
    assert chances["red"] != chances["blue"] != chances["none"]


def test_without_an_image_it_is_the_tiny_model(seen: dict[str, dict[str, Object]]) -> None:
    assert content(seen["own"]["none"]) == "5的阶乘是 **120**。"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_image_is_an_error_line(seen: dict[str, dict[str, Object]], name: str) -> None:
    for way in ("running", "own"):
        answer = seen[way][name]
        print(answer["error"])
        assert (answer["response"], answer["error"]["code"]) == (None, "invalid_request")
