"""What is shown of an object in each situation, what is redacted, what a shell is suggested."""

from __future__ import annotations

import pytest
from tests.unit.plugin import recorded

from qwen3_operator.plugin import redact
from qwen3_operator.plugin.arguments import make_parser
from qwen3_operator.plugin.completion import main, suggestions
from qwen3_operator.plugin.show import clean, duration
from qwen3_operator.plugin.status_view import Seen, lines, view


def stages(state: str, log: str = "") -> dict[str, tuple[str, int | None]]:
    """Stage -> its state and seconds."""
    objects = recorded.deployment("chat", state, done=recorded.GIB)
    pods = [obj for obj in objects if obj["kind"] == "Pod"]
    shown = view(Seen(objects[0], recorded.NOW, pods, log=log))
    return {stage.name: (stage.state, stage.seconds) for stage in shown.stages}


def test_a_server_that_is_ready() -> None:
    assert stages("ready") == {
        "accepted": ("done", None),
        "download": ("done", None),
        "fits": ("done", None),
        "scheduled": ("done", 1),
        "image and volumes": ("done", 19),
        "weights": ("done", 11),
        "compile": ("done", 21),
        "CUDA graphs": ("done", 6),
        "answers": ("done", 50),
    }


def test_of_how_many_servers_that_the_load_decides_on() -> None:
    obj = recorded.deployment("chat")[0]
    assert view(Seen(obj, recorded.NOW)).facts["servers"] == "1 of 1 ready"
    obj["status"] |= {"readyReplicas": 5, "autoscaling": {"desiredReplicas": 6}}
    assert view(Seen(obj, recorded.NOW)).facts["servers"] == "5 of 6 ready"
    assert lines([obj], recorded.NOW)[0].progress == "5 of 6 servers"


def test_a_download() -> None:
    found = stages("downloading")
    assert found["download"] == ("now", 300)
    assert found["answers"][0] == found["scheduled"][0] == "waiting"


def test_a_server_without_a_node() -> None:
    found = stages("unplaced")
    assert found["scheduled"] == ("now", 130) and found["weights"] == ("waiting", None)


def test_an_image_that_is_pulled() -> None:
    found = stages("pulling")
    assert (found["scheduled"], found["image and volumes"]) == (("done", 1), ("now", 129))
    assert found["answers"][0] == "waiting"


@pytest.mark.parametrize(("lines", "at"), [(0, "weights"), (2, "compile"), (4, "CUDA graphs"), (6, "answers")])
def test_a_server_that_starts_is_where_its_log_says(lines: int, at: str) -> None:
    log = "\n".join(recorded.START_LOG.splitlines()[:lines])
    found = stages("loading", log)
    order = ["weights", "compile", "CUDA graphs", "answers"]
    done = order[: order.index(at)]
    assert {name: found[name][0] for name in done} == dict.fromkeys(done, "done")
    assert found[at][0] == "now" and found["image and volumes"] == ("done", 19)


def test_a_spec_that_was_never_reconciled() -> None:
    objects = recorded.deployment("chat")
    objects[0]["metadata"]["generation"] = 2
    assert "has not looked at the newest spec" in view(Seen(objects[0], recorded.NOW)).notes[0]
    fresh = {key: value for key, value in objects[0].items() if key != "status"}
    assert view(Seen(fresh, recorded.NOW)).reason == "NotYetSeen"


def test_what_nobody_knows_whether_it_fits_is_not_waited_for() -> None:
    objects = recorded.deployment("chat")
    for condition in objects[0]["status"]["conditions"]:
        if condition["type"] == "Fits":
            condition |= {"status": "Unknown", "reason": "GpuUnknown", "message": "no label tells"}
    shown = view(Seen(objects[0], recorded.NOW))
    assert [stage.state for stage in shown.stages if stage.name == "fits"] == ["unknown"]


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert clean("a\x1b[2Jb\u202ec\nd") == "a[2Jbc\nd"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0, "0s"), (59, "59s"), (60, "1m"), (200, "3m20s"), (7260, "2h1m"), (90000, "1d1h")],
)
def test_durations(seconds: int | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    "words",
    [
        "Secret keys does not exist",
        "KV cache size: 397,568 tokens",
        "max tokens=4096",
        "pod p: the pod needs 1 free GPU",
        "https://modelscope.cn/api/v1/models/Qwen/Qwen3-8B/repo?Revision=master",
    ],
)
def test_what_is_no_secret_stays(words: str) -> None:
    assert redact.text(words) == words


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("MODELSCOPE_API_TOKEN=abcd1234", "MODELSCOPE_API_TOKEN=REDACTED"),
        ('{"password": "letmein9"}', '{"password": "REDACTED"}'),
        ("vllm serve m --api-key abcd1234 --port 8000", "vllm serve m --api-key REDACTED --port 8000"),
        ("http://u:p@proxy:1", "http://REDACTED@proxy:1"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----!", "REDACTED!"),
        ("AKIAABCDEFGHIJKLMNOP", "REDACTED"),
    ],
)
def test_what_looks_like_a_secret_goes(words: str, left: str) -> None:
    assert redact.text(words) == left


def test_flags_that_are_no_secrets_of_an_object_stay() -> None:
    pod = {"spec": {"automountServiceAccountToken": False, "volumes": [{"secret": {"secretName": "keys"}}]}}
    assert redact.obj(pod) == pod


def complete(*words: str) -> tuple[list[str], int]:
    return suggestions(make_parser(), words, lambda kinds, given: ["chat", f"{given.namespace}-of-{len(kinds)}"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], (["status"], 4)),
        (["status", "ch"], (["chat"], 4)),
        (["status", "-n", "team", ""], (["chat", "team-of-3"], 4)),
        (["chat", "--thinking", "o"], (["off", "on"], 4)),
        (["chat", "chat", "--th"], (["--thinking"], 4)),
        (["explain", "-f", ""], ([], 0)),
        (["completion", ""], (["bash", "zsh"], 4)),
        (["status", "chat", ""], ([], 4)),
    ],
)
def test_suggestions(words: list[str], expected: tuple[list[str], int]) -> None:
    assert complete(*words) == expected


def test_a_shell_gets_nothing_where_no_cluster_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")  # no kubectl
    assert main(["status", "-n", "team", "--as", "jane", "ch"]) == 0
    assert capsys.readouterr() == (":4\n", "")
