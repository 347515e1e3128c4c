"""Offline inference inside vLLM's image: a file of prompts in, a file of answers out, one shard of it a process.

This package travels to the pod in a ConfigMap (see desired/batch_config.py), so it imports the standard library and,
in vllm_engine.py alone, vLLM. The operator itself uses only the words of contract.py.

Why not `vllm run-batch`: it holds all answers in memory and writes them at the end, so a killed pod starts over; it
ends at the first line that it cannot parse; it takes no sampling defaults; and it knows no shards.
"""
