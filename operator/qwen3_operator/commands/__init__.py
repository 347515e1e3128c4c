"""The sub-commands of `qwen3-operator` that need no cluster."""
