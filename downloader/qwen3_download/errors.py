"""Why a download failed, in the classes that a Job's `podFailurePolicy` and the operator act on."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import Any


class Reason(StrEnum):
    """Failure classes; `EXIT_CODES` gives each its exit code."""

    USAGE = "Usage"
    INVALID_TOKEN = "InvalidToken"
    INSECURE_ENDPOINT = "InsecureEndpoint"
    INVALID_PROXY = "InvalidProxy"
    INVALID_CERTIFICATES = "InvalidCertificates"
    MODEL_NOT_FOUND = "ModelNotFound"
    REVISION_NOT_FOUND = "RevisionNotFound"
    UNAUTHORIZED = "Unauthorized"
    DISK_FULL = "DiskFull"
    VOLUME_NOT_WRITABLE = "VolumeNotWritable"
    VOLUME_NOT_READABLE = "VolumeNotReadable"
    VOLUME_ERROR = "VolumeError"
    INTEGRITY = "IntegrityError"
    INVALID_REPOSITORY = "InvalidRepository"
    HUB_UNAVAILABLE = "HubUnavailable"
    PROXY_UNAVAILABLE = "ProxyUnavailable"
    STOPPED = "Stopped"
    DOWNLOAD_FAILED = "DownloadFailed"


EXIT_CODES = {
    Reason.DOWNLOAD_FAILED: 1,
    Reason.USAGE: 2,
    Reason.INVALID_TOKEN: 2,
    Reason.INSECURE_ENDPOINT: 2,
    Reason.INVALID_PROXY: 2,
    Reason.INVALID_CERTIFICATES: 2,
    Reason.MODEL_NOT_FOUND: 10,
    Reason.REVISION_NOT_FOUND: 10,
    Reason.UNAUTHORIZED: 11,
    Reason.DISK_FULL: 12,
    Reason.VOLUME_NOT_WRITABLE: 12,
    Reason.VOLUME_NOT_READABLE: 12,
    Reason.INTEGRITY: 13,
    Reason.INVALID_REPOSITORY: 20,
    Reason.HUB_UNAVAILABLE: 30,
    Reason.PROXY_UNAVAILABLE: 30,
    Reason.VOLUME_ERROR: 30,
    Reason.STOPPED: 143,
}

PASSING = frozenset({Reason.HUB_UNAVAILABLE, Reason.PROXY_UNAVAILABLE})
"""Another try later may go better."""

EXIT_CODES_HELP = """\
exit codes:
  0    complete: every file verified, the marker written
  1    DownloadFailed: a mistake of this program, which shows where on stderr
  2    Usage, InvalidToken, InsecureEndpoint, InvalidProxy, InvalidCertificates: what is wrong on this side
  10   ModelNotFound, RevisionNotFound: the hub does not know the model or the revision
  11   Unauthorized: the token is missing, or not accepted
  12   DiskFull, VolumeNotWritable, VolumeNotReadable: the volume is too small, or not this user's
  13   IntegrityError: what the hub sends is not what its listing says
  20   InvalidRepository: no config.json, no weights, an unsafe path, an empty listing
  30   HubUnavailable, ProxyUnavailable, VolumeError: hub or proxy do not answer, or the volume; try again later
  143  stopped by SIGTERM; the next run continues at the byte
Codes 10 to 20 need a person; 30 and 143 do not."""


class Failure(Exception):
    """Ends the download. `str()` is a message that a person can act on; `facts` are for programs."""

    def __init__(self, reason: Reason, message: str, **facts: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.facts = facts
        self.exit_code = EXIT_CODES[reason]

    def __reduce__(self) -> tuple[Any, ...]:
        """It may come from the process of a connection."""
        return partial(type(self), self.reason, str(self), **self.facts), ()
