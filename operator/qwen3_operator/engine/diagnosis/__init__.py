"""From what a pod and its log say to a cause a person can act on."""

from qwen3_operator.engine.diagnosis.log import diagnose_log
from qwen3_operator.engine.diagnosis.patterns import Cause
from qwen3_operator.engine.diagnosis.pod import (
    diagnose_claim,
    diagnose_create_failure,
    diagnose_pod,
    gpus_wanted,
    has_ended,
    is_gpu,
    short_of,
    waits_for_room,
)
from qwen3_operator.engine.diagnosis.quota import quota_allows

__all__ = [
    "Cause",
    "diagnose_claim",
    "diagnose_create_failure",
    "diagnose_log",
    "diagnose_pod",
    "gpus_wanted",
    "has_ended",
    "is_gpu",
    "quota_allows",
    "short_of",
    "waits_for_room",
]
