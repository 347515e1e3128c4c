"""A new server measures what it can bear, before it has users: by vLLM's own benchmark, in a process beside it.

Mounted only where `spec.benchmark` asks for it.
"""
