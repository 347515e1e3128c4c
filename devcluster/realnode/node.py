"""The real node (being built)."""
from pathlib import Path
ADDRESS = "10.244.0.1"
LOGS = Path("/nonexistent")
def owner(): return None
