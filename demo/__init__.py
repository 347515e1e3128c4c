"""The main job from end to end on a real node: images, chart, hub, a Qwen3Deployment, and the questions to it.

`python -m demo up` is `make demo`; tests/e2e stands on the same parts.
"""
