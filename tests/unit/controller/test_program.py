"""What a program does before its event loop."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys

import pytest

BURSTS = """
import re, sys
from pathlib import Path
from qwen3_operator.controller.program import give_back_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

if sys.argv[1] == "given back":
    give_back_memory()
before, stays = resident(), []
passing = b"x" * 20_000_000
del passing
for _ in range(3):
    passing = []
    for _ in range(400):
        passing.append(b"x" * 200_000)
        stays.append(b"x" * 10_000)  # too large for what the imports left free
    del passing
print(resident() - before - 12)
"""


def grown(how: str) -> int:
    """MiB that a process has more after bursts of large buffers, beside the 12 that stayed among them."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", BURSTS, how], capture_output=True, text=True, check=True, env=plain)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc")
def test_what_a_burst_took_is_given_back() -> None:
    assert grown("given back") < 20 < grown("kept")


def test_what_was_imported_is_not_collected_again() -> None:
    code = "import gc; from qwen3_operator.controller.program import collect_less; collect_less(); "
    code += "print(gc.get_freeze_count(), len(gc.get_objects()), *gc.get_threshold())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    frozen, collected, *thresholds = map(int, done.stdout.split())
    assert frozen > 5_000 > collected
    assert thresholds[0] > gc.get_threshold()[0]
