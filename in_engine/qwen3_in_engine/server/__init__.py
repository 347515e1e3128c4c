"""What runs inside vLLM's API server, and the hook that runs beside it before the pod stops.

vLLM loads it by `--middleware qwen3_in_engine.server.loader.Middleware`.
"""
