"""A ModelScope hub of our own, standard library only: serves repositories from folders, with faults on demand.

It speaks the part of the HTTP API that `modelscope-hub` 0.5.1 uses for listing and download. Run it with
`python -m hub --root DIR --port P`, or from a test with `hub.process.HubProcess`.
"""
