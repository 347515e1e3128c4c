"""How soon an object is reconciled again where no watch will bring the news."""

from __future__ import annotations

EVENT_SECONDS = 1.0
"""An Event that says why may come so much later than what it is about."""
TROUBLE_SECONDS = 10.0
"""What nobody watches (a ConfigMap, a StorageClass, Events) is read again after so long while it is in the way."""
