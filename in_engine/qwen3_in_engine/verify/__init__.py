"""Whether a vLLM answers as its model: asked of a server before its first user, and of a batch's own engine
before its first line.

A package of its own, which imports the standard library and itself alone: its files go to more than one kind of pod.
"""
