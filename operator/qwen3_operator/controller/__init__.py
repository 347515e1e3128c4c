"""The kit of a kopf operator: connection, queue, Lease, Events, metrics and probes. It knows no Qwen3."""
