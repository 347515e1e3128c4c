#!/usr/bin/env bash
# Make .venv in the checkout from the locked requirements.
set -euo pipefail
uv_version=$1

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
  echo "setup: Python 3.11 or newer is needed; '$python' is not. Set PYTHON to one." >&2
  exit 1
}
if ! "$python" -c 'import ensurepip' 2>/dev/null; then # Debian keeps venv in a package of its own
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq python3-venv
  else
    echo "setup: Python's venv module is missing: install python3-venv." >&2
    exit 1
  fi
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install -q "uv==$uv_version"
.venv/bin/uv pip install -q --python .venv/bin/python --require-hashes -r requirements/dev.lock
.venv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e . -e downloader
