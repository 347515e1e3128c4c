"""Stages of a start. The lines are formatted as the logging calls of the named releases do."""

from __future__ import annotations

from qwen3_operator.engine.startup_log import StartupLog, parse_startup_log

# The figures of 8B-8k-cold, measured with 0.26.0 on an H100, in the words of that release.
V26 = """\
(EngineCore pid=214) INFO 11-22 10:00:49 [gpu/model_runner.py:280] Starting to load model /models/qwen3-8b...
(EngineCore pid=214) INFO 11-22 10:00:55 [default_loader.py:390] Loading weights took 5.12 seconds
(EngineCore pid=214) INFO 11-22 10:00:56 [gpu/model_runner.py:306] Model loading took 15.27 GiB and 6.800000 seconds
(EngineCore pid=214) INFO 11-22 10:01:30 [monitor.py:60] torch.compile took 33.98 s in total
(EngineCore pid=214) INFO 11-22 10:01:32 [gpu_worker.py:561] Available KV cache memory: 56.07 GiB
(EngineCore pid=214) INFO 11-22 10:01:32 [kv_cache_utils.py:2177] GPU KV cache size: 408,256 tokens
(EngineCore pid=214) INFO 11-22 10:01:32 [kv_cache_utils.py:1] Maximum concurrency for 8,192 tokens per request: 49.84x
(EngineCore pid=214) INFO 11-22 10:01:40 [gpu/model_runner.py:748] Graph capturing finished in 8 secs, took 1.00 GiB
(EngineCore pid=214) INFO 11-22 10:01:51 [core.py:341] init engine (profile, create kv cache, warmup model) took \
55.27 s (compilation: 33.98 s)
(APIServer pid=7) INFO 11-22 10:01:53 [launcher.py:38] Starting vLLM server on http://0.0.0.0:8000
(APIServer pid=7) INFO:     Application startup complete.
""".splitlines()


def test_a_whole_start() -> None:
    log = parse_startup_log(V26)
    assert log == StartupLog(
        weights_seconds=5.12,
        weights_gib=15.27,
        compile_seconds=33.98,
        graphs_seconds=8.0,
        init_seconds=55.27,
        kv_cache_gib=56.07,
        kv_cache_tokens=408_256,
        max_concurrency=49.84,
        ready=True,
    )


def test_stages_as_they_come() -> None:
    stages = [parse_startup_log(V26[:n]).stage for n in (0, 2, 4, 7, 9, 11)]
    assert stages == ["Starting", "Compiling", "Compiling", "CapturingGraphs", "CapturingGraphs", "Ready"]


def test_older_words() -> None:
    log = parse_startup_log(
        [
            "INFO 09-20 10:00:30 [monitor.py:34] torch.compile takes 31.20 s in total",
            "INFO 09-20 10:00:40 [core.py:218] init engine (profile, create kv cache, warmup model) took 52.10 seconds",
            "INFO 09-20 10:00:20 [gpu_model_runner.py:2392] Model loading took 15.2683 GiB and 6.812345 seconds",
        ]
    )
    assert (log.compile_seconds, log.init_seconds, log.weights_gib) == (31.2, 52.1, 15.2683)


def test_one_line_for_size_and_concurrency_since_032() -> None:
    log = parse_startup_log(
        ["CPU KV cache size: 131,072 tokens, Maximum concurrency for 2,048 tokens per request: 64.00x"]
    )
    assert (log.kv_cache_tokens, log.max_concurrency) == (131_072, 64.0)


def test_several_ranks_count_with_the_slowest_and_the_smallest() -> None:
    log = parse_startup_log(
        [
            "(Worker_TP0 pid=1) Loading weights took 5.00 seconds",
            "(Worker_TP1 pid=2) Loading weights took 7.50 seconds",
            "(Worker_TP0 pid=1) Available KV cache memory: 97.42 GiB",
            "(Worker_TP1 pid=2) Available KV cache memory: 97.10 GiB",
        ]
    )
    assert (log.weights_seconds, log.kv_cache_gib) == (7.5, 97.1)


def test_an_empty_log() -> None:
    assert parse_startup_log([]) == StartupLog()


def test_a_server_that_runs_without_the_middleware_says_why() -> None:
    line = "(APIServer pid=7) qwen3: the middleware is not loaded: SyntaxError('invalid syntax', ('drain.py', 3))"
    assert parse_startup_log([*V26, line]).without_middleware == "SyntaxError('invalid syntax', ('drain.py', 3))"
    assert parse_startup_log(V26).without_middleware is None
    assert len(parse_startup_log([line + "x" * 10_000]).without_middleware or "") == 200
