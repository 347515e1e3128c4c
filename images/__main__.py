"""`python -m images build NAME…` and `python -m images bundle`: build and print where it is."""

from __future__ import annotations

import argparse
import subprocess
import sys

from images.build import BuildError, build
from images.catalog import IMAGES
from images.vllm_bundle import bundle


def main() -> int:
    parser = argparse.ArgumentParser(prog="images", description="Build the images of this repository with buildah.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="build images that changed; prints REFERENCE and ARCHIVE of each")
    command.add_argument("names", nargs="+", choices=sorted(IMAGES), metavar="NAME", help=", ".join(sorted(IMAGES)))
    commands.add_parser("bundle", help="install vLLM's CPU build into a folder for nodes without a GPU; prints it")
    arguments = parser.parse_args()
    try:
        if arguments.command == "bundle":
            print(bundle())
            return 0
        for name in arguments.names:
            built = build(name)
            print(built.reference, built.archive, sep="\t")
    except (BuildError, subprocess.CalledProcessError, OSError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
