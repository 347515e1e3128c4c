"""A Kubernetes operator that serves Qwen3 with vLLM from verified ModelScope checkpoints."""

__version__ = "0.1.0"
