"""What `explain` and `render` refuse is what the API server refuses: the constraint tables, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from tests.cluster.constraint_tables.batch import BATCH, BATCH_CASES
from tests.cluster.constraint_tables.deployment import DEPLOYMENT, DEPLOYMENT_CASES
from tests.cluster.constraint_tables.model import MODEL, MODEL_CASES
from tests.cluster.constraints import Case, Change, changed

from qwen3_operator.commands.read import BadInput, _spec

TABLES: list[tuple[dict[str, Any], list[Case]]] = [
    (DEPLOYMENT, DEPLOYMENT_CASES),
    (MODEL, MODEL_CASES),
    (BATCH, BATCH_CASES),
]


def rows() -> list[tuple[dict[str, Any], Case]]:
    """Every row about what is written: neither a status nor a change of something older."""
    reported = [(full, case) for full, cases in TABLES for case in cases]
    return [(full, case) for full, case in reported if not case.path.startswith("status") and case.before is None]


def refusal(full: dict[str, Any], change: Change) -> str:
    """Why it is refused; empty where it is accepted."""
    try:
        _spec("file", changed(full, change))
    except BadInput as error:
        return str(error)
    return ""


def test_the_tables_come_out_as_on_an_api_server() -> None:
    """In one test: there are more than a thousand rows, and each is quick."""
    accepted = [(case.path, case.keyword, why) for full, case in rows() if (why := refusal(full, case.accept))]
    let_pass = [(case.path, case.keyword) for full, case in rows() if not refusal(full, case.reject)]
    assert not accepted, "accepted by the API server, refused here"
    assert not let_pass, "refused by the API server, accepted here"


def test_the_rows_are_many() -> None:
    assert len(rows()) > 1000


@pytest.mark.parametrize("name", ["qwen3.5-9b", "9b", "a" * 46, "A"])
def test_the_name_is_a_services(name: str) -> None:
    assert "the name becomes a Service's" in refusal(DEPLOYMENT, {"metadata.name": name})
