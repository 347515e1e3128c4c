"""`python -m images build NAME…`, `push REGISTRY NAME…`, `release REGISTRY`, `bundle`: build, and print where it is."""

from __future__ import annotations

import argparse
import subprocess
import sys

from devcluster.paths import DevclusterError

from images.build import BuildError, build
from images.catalog import IMAGES
from images.push import push
from images.release import release
from images.vllm_bundle import bundle


def main() -> int:
    parser = argparse.ArgumentParser(prog="images", description="Build the images of this repository with buildah.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="build images that changed; prints REFERENCE and ARCHIVE of each")
    command.add_argument("names", nargs="+", type=_image, metavar="NAME", help=", ".join(sorted(IMAGES)))
    command = commands.add_parser("push", help="build images that changed and push them; prints NAME and REFERENCE")
    command.add_argument("registry", metavar="REGISTRY", help="where to, like registry.example/team")
    command.add_argument("names", nargs="*", type=_image, default=sorted(IMAGES), metavar="NAME", help="default: all")
    command.add_argument("--insecure", action="store_true", help="the registry speaks plain HTTP")
    command = commands.add_parser("release", help="push images and chart of this version; prints how to install them")
    command.add_argument("registry", metavar="REGISTRY", help="where to, like registry.example/team")
    command.add_argument("--insecure", action="store_true", help="it speaks plain HTTP, as one on 127.0.0.1 does")
    command.add_argument(
        "--pushed",
        action="append",
        default=[],
        metavar="NAME=DIGEST",
        help="an image that is there already: it is not built here",
    )
    commands.add_parser("bundle", help="install vLLM's CPU build into a folder for nodes without a GPU; prints it")
    arguments = parser.parse_args()
    try:
        if arguments.command == "bundle":
            print(bundle())
        elif arguments.command == "release":
            pushed = dict(word.split("=", 1) for word in arguments.pushed)
            print(release(arguments.registry.rstrip("/"), insecure=arguments.insecure, pushed=pushed))
        elif arguments.command == "push":
            pushed = push(arguments.names, arguments.registry.rstrip("/"), insecure=arguments.insecure)
            for name, reference in pushed.items():
                print(name, reference, sep="\t")
        else:
            for built in map(build, arguments.names):
                print(built.reference, built.archive, sep="\t")
    except (BuildError, DevclusterError, subprocess.CalledProcessError, OSError) as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


def _image(name: str) -> str:
    if name not in IMAGES:
        raise argparse.ArgumentTypeError(f"no such image; there are {', '.join(sorted(IMAGES))}")
    return name


if __name__ == "__main__":
    sys.exit(main())
