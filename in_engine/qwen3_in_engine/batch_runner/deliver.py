"""Delivering a batch that was given up: what is finished, and an error line for each line that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qwen3_in_engine.batch_runner.answers import error_line
from qwen3_in_engine.batch_runner.contract import Config
from qwen3_in_engine.batch_runner.lines import BadLine, parse
from qwen3_in_engine.batch_runner.source import Source
from qwen3_in_engine.batch_runner.store import Store


def deliver(config: Config, *, code: str, why: str) -> dict[str, Any]:
    """Write the output from the parts of all shards. `code` and `why`: of the lines that are missing. Returns the
    report; raises Stop."""
    store, source = Store(config, 0), Source(Path(config.input), 0, 1)
    store.check_owner()
    summary = source.read(lambda index, line: None)
    store.claim(summary)
    if store.merged:
        return {"result": "Complete", "merged": True, "missing": 0}
    missing = 0

    def error_of(index: int) -> str:
        nonlocal missing
        missing += 1
        custom_id, own = f"line-{index + 1}", BadLine(code, f"line {index + 1}: {why}")
        try:
            custom_id = parse(source.line(index), index, config).custom_id
        except BadLine as error:  # what is wrong with the line itself is the better word
            own, custom_id = error, error.custom_id
        return error_line(f"{config.namespace}-{config.name}", index, BadLine(own.code, own.message, custom_id))

    store.deliver(summary.lines, error_of)
    return {"result": "Complete", "merged": True, "missing": missing, "lines": summary.lines}
