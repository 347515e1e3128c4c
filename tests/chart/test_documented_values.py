"""Every piece of chart values that the documents show renders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.chart.helm import CHART, IMAGES, flags, helm
from tests.documents.snippets import blocks

pytestmark = pytest.mark.cluster  # helm is one of its tools

PARSED: list[tuple[str, Any]] = [
    (it.where, document) for it in blocks("yml") for document in yaml.safe_load_all(it.text)
]
VALUES = [(where, values) for where, values in PARSED if not {"kind", "metadata"} & set(values)]
KNOWN = set(yaml.safe_load((CHART / "values.yaml").read_text()))


@pytest.mark.parametrize(("where", "values"), VALUES, ids=[where for where, _ in VALUES])
def test_they_are_values_of_the_chart(where: str, values: dict[str, Any], tmp_path: Path) -> None:
    assert set(values) <= KNOWN
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    assert "kind: Deployment" in helm("template", "it", CHART, "--kube-version", "1.31.0", "-f", file, *flags(*IMAGES))
