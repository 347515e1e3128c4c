"""Names. A name that changes between releases orphans what the old one made: the literals here never change."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator import naming
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.source import ModelSource
from qwen3_operator.desired.model import shared_model

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def source(**fields: object) -> ModelSource:
    return ModelSource.model_validate({"id": "Qwen/Qwen3-8B", **fields})


@pytest.mark.parametrize(
    ("fields", "name", "path", "claim"),
    [
        ({}, "qwen3-8b-fcec8132", "Qwen3-8B-c1e32b", "qwen3-8b-fcec8132"),
        ({"revision": "v1.0.0"}, "qwen3-8b-178c2bb7", "Qwen3-8B-8ae65b", "qwen3-8b-178c2bb7"),
        ({"storage": {"storageClassName": "fast"}}, "qwen3-8b-869f9484", "Qwen3-8B-c1e32b", "qwen3-8b-869f9484"),
        ({"storage": {"accessMode": "ReadWriteMany"}}, "qwen3-8b-3bbd0ddd", "Qwen3-8B-c1e32b", "qwen3-8b-3bbd0ddd"),
        (
            {"storage": {"existingClaim": {"name": "weights", "path": "a/b/"}}},
            "qwen3-8b-52bd0d9a",
            "a/b",
            "weights",
        ),
    ],
)
def test_names_of_a_model_never_change(fields: dict[str, object], name: str, path: str, claim: str) -> None:
    it = source(**fields)
    assert (naming.model_name(it), naming.model_path(it), naming.claim_name(naming.model_name(it), it)) == (
        name,
        path,
        claim,
    )


def test_labels_and_managers_never_change() -> None:
    assert naming.MANAGER == "qwen3-operator"
    assert naming.SELECTOR == "app.kubernetes.io/managed-by=qwen3-operator"
    assert naming.APPLIED_HASH == "serving.qwen3.dev/applied-hash"
    assert naming.server_selector("chat") == {
        "serving.qwen3.dev/deployment": "chat",
        "app.kubernetes.io/component": "server",
    }
    assert naming.server_labels("chat").items() >= naming.server_selector("chat").items()
    assert naming.model_labels("m")["serving.qwen3.dev/model"] == "m"


def test_what_does_not_make_another_copy_does_not_make_another_name() -> None:
    same = [
        source(),
        source(endpoint="https://mirror.example"),
        source(tokenSecretRef={"name": "a", "key": "b"}),
        source(storage={"size": "40Gi"}),
        source(storage={"retentionPolicy": "Delete"}),
        source(storage={"accessMode": "ReadWriteOnce"}),
    ]
    assert len({naming.model_name(s) for s in same}) == 1


@pytest.mark.parametrize("path", ["a/", "./a", "a//", "a/."])
def test_a_folder_that_is_written_in_another_way_is_the_same_copy(path: str) -> None:
    """Name and manifest: whoever is first, the spec of the second changes nothing of the model."""
    one, two = (source(storage={"existingClaim": {"name": "weights", "path": it}}) for it in ("a", path))
    assert naming.model_name(two) == naming.model_name(one) and naming.model_path(two) == naming.model_path(one) == "a"
    models = [shared_model("team", "m", Qwen3DeploymentSpec(model=it)) for it in (one, two)]
    assert models[0] == models[1]
    below = source(storage={"existingClaim": {"name": "weights", "path": "a/b"}})
    assert naming.model_name(below) != naming.model_name(one)


def test_digest_is_the_same_in_every_process() -> None:
    assert naming.digest({"b": 1, "a": ["x", None]}) == naming.digest({"a": ["x", None], "b": 1}) == "51ea4a01"
    assert naming.digest("ü", 16) == "e4c77d3f26dacb0b"


@given(
    owner=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True),
    model=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}", fullmatch=True),
    revision=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,60}", fullmatch=True),
)
def test_every_model_name_is_a_label_with_room_for_a_pods_suffix(owner: str, model: str, revision: str) -> None:
    name = naming.model_name(source(id=f"{owner}/{model}", revision=revision))
    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= 45, "the Job adds 9, the pod 6 characters"


def test_owner_references_are_plain_or_controlling() -> None:
    plain = naming.owner_reference("K", "g/v", "n", "u", controller=False)
    assert plain == {"apiVersion": "g/v", "kind": "K", "name": "n", "uid": "u"}
    controlling = naming.owner_reference("K", "g/v", "n", "u", controller=True)
    assert controlling == plain | {"controller": True, "blockOwnerDeletion": True}


def test_other_files_make_another_copy() -> None:
    """And nobody's name changed when patterns came to be."""
    plain = source()
    assert naming.model_path(source(download={"bytesPerSecond": "50Mi"})) == naming.model_path(plain)
    some = source(download={"ignorePatterns": ["*.md", "*.txt"]})
    assert (naming.model_name(some), naming.model_path(some)) == ("qwen3-8b-b99da901", "Qwen3-8B-0dd4a5")
    again = source(download={"ignorePatterns": ["*.txt", "*.md"]})
    assert (naming.model_name(again), naming.model_path(again)) == (naming.model_name(some), naming.model_path(some))
    other = source(download={"allowPatterns": ["*.md", "*.txt"]})
    assert naming.model_path(other) != naming.model_path(some) != naming.model_path(plain)
