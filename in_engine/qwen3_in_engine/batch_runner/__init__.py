"""Offline inference inside vLLM's image: a file of prompts in, a file of answers out, one shard of it a process.

The lines are answered by vLLM's own server (engine.py), so that a server and a batch give the same answers in the same
shape; the runner reads, deals out, remembers and writes. The package travels to the pod in a ConfigMap (see
desired/batch_config.py) with qwen3_in_engine.verify, and imports that and the standard library only. The operator
itself uses only the words of contract.py.

Why not `vllm run-batch`, which goes through the same handlers: it holds all answers in memory and writes them at the
end, so a killed pod starts over; it ends at the first line that it cannot parse; it takes no sampling defaults; it dies
with its engine; and it knows no shards.
"""
