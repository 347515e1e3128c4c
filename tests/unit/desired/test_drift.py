"""Does the live object say what we want? A wrong yes leaves drift, a wrong no writes for ever."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.desired.drift import stamped, up_to_date, with_ports_of
from qwen3_operator.naming import APPLIED_HASH

DESIRED: dict[str, Any] = {
    "metadata": {"name": "chat", "labels": {"app": "vllm"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "vllm"}},
        "template": {
            "spec": {
                "nodeSelector": {"gpu": "h100"},
                "enableServiceLinks": False,
                "containers": [
                    {
                        "name": "vllm",
                        "args": ["/models", "--port", "8000"],
                        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}],
                        "ports": [{"containerPort": 8000, "name": "http"}],
                        "resources": {"requests": {"cpu": "1000m", "memory": "2048Mi", "nvidia.com/gpu": "1"}},
                    }
                ],
                "tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b"}],
            }
        },
    },
}


def live() -> dict[str, Any]:
    """What the API server shows after an apply: rewritten quantities, defaults, other people's fields."""
    it = copy.deepcopy(stamped(DESIRED))
    it["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 1}
    it["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    it["metadata"]["labels"]["team"] = "a"
    pod = it["spec"]["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}
    (container,) = pod["containers"]
    container["resources"]["requests"] = {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"}
    container["terminationMessagePath"] = "/dev/termination-log"
    container["env"] = [{"name": "INJECTED", "value": "x"}, {"name": "A", "value": "1"}, {"name": "EMPTY"}]
    container["ports"][0]["protocol"] = "TCP"
    pod["containers"].append({"name": "sidecar", "image": "mesh"})
    it["status"] = {"replicas": 2}
    return it


def change(obj: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`obj` with one field set; None removes it."""
    it = copy.deepcopy(obj)
    node: Any = it
    *parents, last = path.split("/")
    for part in parents:
        node = node[int(part)] if part.isdigit() else node[part]
    key = int(last) if last.isdigit() else last
    if value is None:
        del node[key]
    else:
        node[key] = value
    return it


CONTAINER = "spec/template/spec/containers/0"


def test_defaults_rewritten_quantities_and_others_fields_are_no_drift() -> None:
    assert up_to_date(live(), stamped(DESIRED))


def test_items_that_share_a_key_are_compared_in_order() -> None:
    both = [
        {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"},
        {"topologyKey": "zone", "maxSkew": 3, "whenUnsatisfiable": "ScheduleAnyway"},
    ]
    wanted = change(DESIRED, "spec/template/spec/topologySpreadConstraints", both)
    found = change(live(), "spec/template/spec/topologySpreadConstraints", both)
    found["metadata"]["annotations"] = stamped(wanted)["metadata"]["annotations"]
    assert up_to_date(found, stamped(wanted))
    assert not up_to_date(change(found, "spec/template/spec/topologySpreadConstraints/1/maxSkew", 2), stamped(wanted))


def test_nothing_is_not_up_to_date() -> None:
    assert not up_to_date(None, stamped(DESIRED))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec/replicas", 3),
        ("metadata/labels/app", "other"),
        ("metadata/labels/app", None),
        (f"{CONTAINER}/args", ["/models", "--port", "8001"]),
        (f"{CONTAINER}/args", ["/models", "--port"]),
        (f"{CONTAINER}/args", ["--port", "8000", "/models"]),
        (f"{CONTAINER}/env/1/value", "2"),
        (f"{CONTAINER}/env/1", None),
        (f"{CONTAINER}/resources/requests/cpu", "2"),
        (f"{CONTAINER}/resources/requests/memory", "2047Mi"),
        (f"{CONTAINER}/resources/requests/nvidia.com~gpu", None),
        ("spec/template/spec/containers/0/name", "renamed"),
        ("spec/template/spec/enableServiceLinks", True),
        ("spec/template/spec/nodeSelector/zone", "a"),
        ("spec/selector/matchLabels/pod-template-hash", "x"),
        ("spec/template/spec/tolerations/0/operator", "Equal"),
        ("spec/template/spec/tolerations/1", None),
    ],
)
def test_an_edit_by_hand_is_drift(path: str, value: Any) -> None:
    edited = live()
    if path.endswith("nvidia.com~gpu"):
        del edited["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"]
    else:
        edited = change(edited, path, value)
    assert not up_to_date(edited, stamped(DESIRED))


@pytest.mark.parametrize(
    "path",
    [
        "spec/template/spec/nodeSelector",
        f"{CONTAINER}/env/1",
        "spec/template/spec/tolerations/0/operator",
        "metadata/labels/app",
    ],
)
def test_a_field_that_is_no_longer_wanted_shows_in_the_hash(path: str) -> None:
    """The live object still says all that is wanted, and more: only the hash of what was applied shows it."""
    assert not up_to_date(live(), stamped(change(DESIRED, path, None)))


def test_the_stamp_is_of_the_meaning_alone() -> None:
    shuffled = {"spec": DESIRED["spec"], "metadata": DESIRED["metadata"]}
    assert stamped(shuffled) == stamped(DESIRED)
    assert APPLIED_HASH not in DESIRED["metadata"].get("annotations", {}), "the input is left as it is"


JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 5), st.sampled_from(["a", "b", "1", "1000m", "1Gi"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["x", "y", "name", "env"]), inner, max_size=3),
        st.lists(
            st.builds(lambda n, v: {"name": n, "value": v}, st.sampled_from("pqr"), inner),
            max_size=3,
            unique_by=lambda i: i["name"],
        ),
    ),
    max_leaves=8,
)
OBJECTS = st.builds(
    lambda spec: {"metadata": {"name": "n"}, "spec": spec}, st.dictionaries(st.sampled_from("abc"), JSON)
)


@given(OBJECTS)
def test_what_was_applied_as_it_is_is_up_to_date(obj: dict[str, Any]) -> None:
    assert up_to_date(stamped(obj), stamped(obj))


@given(OBJECTS, OBJECTS)
def test_another_wish_is_never_up_to_date(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert up_to_date(stamped(one), stamped(other)) == (stamped(one) == stamped(other))


OURS = {"name": "http", "port": 8001, "targetPort": "http", "protocol": "TCP"}


@pytest.mark.parametrize(
    ("live", "merged"),
    [
        ([OURS | {"port": 9000}], [OURS]),
        ([OURS | {"nodePort": 30001}], [OURS | {"nodePort": 30001}]),
        ([OURS | {"name": "web"}], [OURS]),
        ([OURS | {"port": 8000}, {"name": "metrics", "port": 9090}], [OURS, {"name": "metrics", "port": 9090}]),
        ([OURS | {"name": "dns", "protocol": "UDP"}], [OURS, OURS | {"name": "dns", "protocol": "UDP"}]),
    ],
)
def test_only_ports_that_stand_in_the_way_of_ours_go(live: list[dict[str, Any]], merged: list[dict[str, Any]]) -> None:
    assert with_ports_of({"spec": {"ports": live}}, {"spec": {"ports": [OURS]}}) == {"spec": {"ports": merged}}
