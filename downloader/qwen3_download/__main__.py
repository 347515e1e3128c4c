"""`python -m qwen3_download`."""

import sys

from qwen3_download.cli import main

if __name__ == "__main__":
    sys.exit(main())
