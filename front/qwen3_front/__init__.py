"""The front: holds the requests of a Qwen3Deployment that has no server ready, until one is.

It runs in the operator's image, beside the operator. Of the operator's package it uses only the kit (`controller`).
"""
