"""Starts the runner: `python3 FOLDER/main.py CONFIG.json` in the pod, where this file is called main.py."""

import sys

from qwen3_in_engine.batch_runner.run import main

if __name__ == "__main__":  # vLLM's workers are started by importing this file
    sys.exit(main(sys.argv))
