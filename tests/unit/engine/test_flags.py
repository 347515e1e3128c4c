"""Arguments by release, and what is said about a user's own."""

from __future__ import annotations

import pytest
from hypothesis import given as property_of
from hypothesis import strategies as st

from qwen3_operator.engine.command import OWNED_FLAGS
from qwen3_operator.engine.flag_table import all_flags, find, has_flag, nearest
from qwen3_operator.engine.flags import check_extra_args, given, without
from qwen3_operator.engine.version import EngineVersion

NEW = EngineVersion.of("0.33.0")
OLD = EngineVersion.of("0.8.5")


@pytest.mark.parametrize(
    ("flag", "first", "last_without"),
    [
        ("--default-chat-template-kwargs", "0.14.0", "0.13.0"),
        ("--shutdown-timeout", "0.18.0", "0.17.1"),
        ("--runner", "0.10.1", "0.10.0"),
        ("--nnodes", "0.11.1", "0.11.0"),
        ("--disable-access-log-for-endpoints", "0.16.0", "0.15.1"),
        ("--optimization-level", "0.12.0", "0.11.2"),
    ],
)
def test_flags_that_came(flag: str, first: str, last_without: str) -> None:
    assert has_flag(flag, EngineVersion.of(first))
    assert not has_flag(flag, EngineVersion.of(last_without))


@pytest.mark.parametrize(
    ("flag", "last", "gone"),
    [
        ("--enable-reasoning", "0.9.2", "0.10.0"),
        ("--rope-scaling", "0.11.0", "0.11.1"),
        ("--task", "0.12.0", "0.13.0"),
        ("--swap-space", "0.17.1", "0.18.0"),
        ("--disable-log-requests", "0.16.0", "0.17.0"),
        ("--num-scheduler-steps", "0.10.0", "0.10.1"),
    ],
)
def test_flags_that_went(flag: str, last: str, gone: str) -> None:
    assert has_flag(flag, EngineVersion.of(last))
    assert not has_flag(flag, EngineVersion.of(gone))


def test_a_version_newer_than_known_is_treated_as_the_newest() -> None:
    assert has_flag("--watchdog-config", EngineVersion.of("0.40.0"))


@pytest.mark.parametrize(
    ("word", "flag"),
    [
        ("--max-model-len", "--max-model-len"),
        ("--max_model_len", "--max-model-len"),
        ("--max-model-l", "--max-model-len"),
        ("-tp", "--tensor-parallel-size"),
        ("--tensor-parallel", "--tensor-parallel-size"),
        ("--device-memory-utilization", "--gpu-memory-utilization"),
        ("--no-enable-prefix-caching", "--enable-prefix-caching"),
        ("--no_enable_prefix_caching", "--enable-prefix-caching"),
        ("--disable-prefix-caching", "--enable-prefix-caching"),
        ("--disable-log-requests", "--enable-log-requests"),
        ("--hf-overrides.rope_parameters.factor", "--hf-overrides"),
        ("--compilation_config.mode", "--compilation-config"),
        ("-O3", "--optimization-level"),
        ("-O", "--optimization-level"),
    ],
)
def test_spellings(word: str, flag: str) -> None:
    match = find(word, NEW)
    assert match.flag is not None
    assert match.flag.name == flag


@pytest.mark.parametrize("word", ["--no-such-flag", "-zz", "--", "-", "--max-num", "--headless.x"])
def test_what_is_no_flag(word: str) -> None:
    assert find(word, NEW).flag is None


def test_disable_negatives_are_new() -> None:
    assert find("--disable-prefix-caching", EngineVersion.of("0.32.0")).flag is None
    assert find("--no-enable-prefix-caching", OLD).flag is not None


@pytest.mark.parametrize("flag", sorted(all_flags()))
def test_every_flag_is_found_by_its_name_where_it_exists(flag: str) -> None:
    version = all_flags()[flag].since or OLD
    found = find(flag, version).flag
    assert found is not None
    assert found.name == flag


def problem(args: list[str], version: EngineVersion = NEW) -> tuple[str, str, str]:
    problems = check_extra_args(args, version, OWNED_FLAGS)
    assert len(problems) == 1, problems
    return problems[0].reason, problems[0].message, problems[0].field


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--enforce-eager"],
        ["--enforce_eager", "--seed", "-1"],
        ["--swap-space=4"],
        ["--safetensors-load-strategy", "prefetch"],
        ["--kv-cache-memory-bytes", "64M"],
        ["--block-size=32"],
        ["--allowed-media-domains", "a.example", "b.example", "--enforce-eager"],
        ["--limit-mm-per-prompt", '{"image": 2}'],
        ["--limit-mm-per-prompt.image", "2"],
        ["--compilation-config", '{"mode": 3}'],
        ["-O3"],
        ["--no-enable-log-requests"],
        ["--long-prefill-token-threshold", "1_000"],
    ],
)
def test_good_arguments(args: list[str]) -> None:
    version = EngineVersion.of("0.17.1") if "--swap-space=4" in args else NEW
    assert check_extra_args(args, version, OWNED_FLAGS) == []


@pytest.mark.parametrize(
    ("args", "reason", "says"),
    [
        (["--enforce-eagr"], "UnknownArgument", "did you mean --enforce-eager?"),
        (["--enable-reasoning"], "UnknownArgument", "removed in 0.10.0; use spec.engine.reasoningParser instead"),
        (["--task", "embed"], "UnknownArgument", "use --runner and --convert instead"),
        (["--max-num", "8"], "AmbiguousArgument", "--max-num-seqs"),
        (["--enable-lora=false"], "WrongArgumentValue", "takes no value"),
        (["--host", "::"], "OwnedArgument", "use spec.engine.host"),
        (["--runner", "pooling"], "OwnedArgument", "use spec.engine.task"),
        (["--enforce-eager=false"], "WrongArgumentValue", "takes no value (to turn it off write --no-enforce-eager)"),
        (["--headless"], "OwnedArgument", "which pods answer requests"),
        (["--grpc=1"], "WrongArgumentValue", "--grpc takes no value"),
        (["--block-size"], "WrongArgumentValue", "needs a value, and none follows"),
        (["--seed", "--enforce-eager"], "WrongArgumentValue", "--seed needs a value"),
        (["--block-size", "16k"], "WrongArgumentValue", "a whole number is needed"),
        (["--max_model_len", "8192"], "OwnedArgument", "use spec.engine.maxModelLen"),
        (["-tp=2"], "OwnedArgument", "use spec.engine.tensorParallelSize"),
        (["--gpu-memory-util", "0.9"], "OwnedArgument", "spec.engine.gpuMemoryUtilizationPercent"),
        (["--hf-token=x", "stray"], "UnexpectedArgument", "'stray' follows no flag"),
        (["--scheduling-policy", "lifo"], "WrongArgumentValue", "choose from fcfs, priority"),
        (["--limit-mm-per-prompt", "{image: 2}"], "WrongArgumentValue", "it is not JSON"),
        (["--cpu-offload-gb", "much"], "WrongArgumentValue", "a number is needed"),
    ],
)
def test_bad_arguments(args: list[str], reason: str, says: str) -> None:
    got, message, field = problem(args)
    assert got == reason
    assert says in message
    assert field.startswith("spec.engine.extraArgs[")


def test_the_field_points_at_the_word() -> None:
    assert problem(["--seed", "1", "--nope"])[2] == "spec.engine.extraArgs[2]"


def test_a_flag_of_a_newer_release_is_reported() -> None:
    assert "it came with 0.33.0" in problem(["--monokernel"], EngineVersion.of("0.32.0"))[1]


def test_values_of_an_unknown_flag_are_not_blamed() -> None:
    assert problem(["--nope", "a", "b"])[0] == "UnknownArgument"


def test_choices_of_an_old_release_are_not_judged() -> None:
    assert check_extra_args(["--all2all-backend", "old"], EngineVersion.of("0.12.0"), {}) == []


def test_given_reads_values_back() -> None:
    args = ["--seed", "3", "--enforce_eager", "--seed=5"]
    assert given(args, "--enforce-eager", NEW) == ()
    assert given(args, "--seed", NEW) == ("5",)
    assert given(args, "--block-size", NEW) is None
    assert given(["--enforce-eager", "--no-enforce-eager"], "--enforce-eager", NEW) is None


def test_without_takes_a_flag_and_its_values_away() -> None:
    kept = ["--seed", "3", "stray", "--dtype=auto"]
    for words in (["--api-key", "a", "b"], ["--api-key=a"], ["--api_key", "a"], ["--api-key"]):
        assert without([*kept, *words, "--enforce-eager"], "--api-key", NEW) == [*kept, "--enforce-eager"], words
    assert without([], "--api-key", NEW) == []


def test_nearest() -> None:
    assert nearest("--gpu_memory_utilisation", NEW) == "--gpu-memory-utilization"
    assert nearest("--zzzz", NEW) is None


@property_of(st.lists(st.text("-=._abcdeghlmnoqsx 0159{}", max_size=14), max_size=6))
def test_no_words_break_the_check(args: list[str]) -> None:
    for found in check_extra_args(args, NEW, OWNED_FLAGS):
        assert found.message
        assert found.field


@property_of(st.sampled_from(sorted(all_flags())), st.sampled_from(["0.8.5", "0.10.0", "0.18.0", "0.33.0"]))
def test_dashes_and_underscores_are_one(flag: str, version: str) -> None:
    dashes = find(flag, EngineVersion.of(version))
    underscores = find("--" + flag.removeprefix("--").replace("-", "_"), EngineVersion.of(version))
    assert dashes == underscores
