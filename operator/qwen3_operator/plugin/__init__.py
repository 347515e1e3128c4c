"""`kubectl qwen3`: what a person asks a cluster about its Qwen3 models. A file for each command.

It reaches the cluster through kubectl, which knows every way to log in, and which is there wherever a plugin of it is;
the official client takes longer to import than most commands take. What decides what is shown is pure.
"""
