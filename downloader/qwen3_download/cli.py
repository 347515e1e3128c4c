"""The command `qwen3-download`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qwen3_download import __version__, local, report
from qwen3_download.download import Download, Options
from qwen3_download.errors import EXIT_CODES_HELP, Failure, Reason
from qwen3_download.progress import Progress, human
from qwen3_download.remove import remove
from qwen3_download.survey import survey

DEFAULT_ENDPOINT = "https://modelscope.cn"
ENVIRONMENT = "QWEN3_DOWNLOAD_"
MODEL = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./+-]{0,254}", re.ASCII)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}

DESCRIPTION = """\
Download one revision of a ModelScope model into a folder. Every file is verified from disk against the hub's listing
before the folder appears, complete, with a marker `.complete.json`. An interrupted run continues at the byte; a
complete folder needs no network."""

EPILOG = f"""\
Every option can be given in the environment as {ENVIRONMENT}NAME, for example {ENVIRONMENT}MAX_WORKERS=8; lists are
separated by commas. MODELSCOPE_API_TOKEN is the token of a private model; it is sent over https:// alone. HTTPS_PROXY,
HTTP_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE are honoured.

{EXIT_CODES_HELP}"""


def rate(text: str) -> int:
    """Bytes/s from `500K`, `10M`, `1.5G` (powers of 1024) or a plain number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?(?:/s)?", text.strip(), re.IGNORECASE)
    value = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if value < 16 * 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate of at least 16K: write 500K, 10M or 1G (bytes/s)")
    return value


def model(text: str) -> str:
    if not MODEL.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not OWNER/NAME, for example Qwen/Qwen3-8B")
    return text


def revision(text: str) -> str:
    if not REVISION.fullmatch(text) or ".." in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a branch, tag or commit")
    return text


def at_least_one(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def workers(text: str) -> int:
    if at_least_one(text) > 64:
        raise argparse.ArgumentTypeError("more than 64 connections is no kindness to a hub")
    return int(text)


def patterns(text: str) -> list[str]:
    return [p.strip() for p in text.split(",") if p.strip()]


def parser() -> argparse.ArgumentParser:
    """The options, with defaults from the environment."""
    formatter = argparse.RawDescriptionHelpFormatter
    result = argparse.ArgumentParser(
        "qwen3-download", description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter
    )
    add = result.add_argument
    add("--model", type=model, metavar="OWNER/NAME", help="for example Qwen/Qwen3-8B")
    add("--revision", type=revision, default="master", help="branch, tag or commit (default: %(default)s)")
    add("--endpoint", default=DEFAULT_ENDPOINT, metavar="URL", help="the hub or a mirror (default: %(default)s)")
    add("--target", type=Path, metavar="DIR", help="the folder to make; staging and lock lie beside it")
    add("--json", action="store_true", help="report in JSON lines")
    add("--termination-log", type=Path, metavar="FILE", help="result as JSON (default: /dev/termination-log if there)")
    add("--limit-rate", type=rate, default=0, metavar="RATE", help="at most so many bytes/s: 500K, 10M, 1G")
    add("--allow", type=patterns, action="extend", metavar="GLOB,…", help="only these paths; `*` also crosses `/`")
    add("--ignore", type=patterns, action="extend", metavar="GLOB,…", help="not these paths")
    add("--max-workers", type=workers, default=16, metavar="N", help="connections at most (default: %(default)s)")
    add(
        "--stall-timeout", type=at_least_one, default=30, metavar="S", help="reopen a silent connection after S seconds"
    )
    add("--give-up-after", type=at_least_one, default=300, metavar="S", help="exit 30 after S seconds without progress")
    add("--allow-http-token", action="store_true", help="send the token over http:// too, where others can read it")
    add("--verify", action="store_true", help="hash the files of a complete folder again, and repair it")
    add("--existing", action="store_true", help="only check weights that are already in DIR; write nothing there")
    add("--adapter", action="store_true", help="fetch a LoRA adapter: its configuration and weights, nothing else")
    add("--list", action="store_true", help="only say how many files and bytes there are; needs no DIR")
    add("--remove", action="store_true", help="remove DIR, if it holds just this model and revision")
    add("--version", action="version", version=__version__)
    return result


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Command line over environment over defaults. Exits 2 with words for wrong values."""
    options = parser()
    given: list[str] = []
    for action in options._actions:
        flag = action.option_strings[-1]
        value = os.environ.get(ENVIRONMENT + flag.removeprefix("--").replace("-", "_").upper())
        if value and action.dest not in ("help", "version"):
            if action.nargs != 0:
                given.append(f"{flag}={value}")
            elif value.lower() not in ("0", "false", "no"):
                given.append(flag)
    # A list on the command line replaces the environment's, as any other option does.
    given = [g for g in given if not any(a.split("=")[0] == g.split("=")[0] for a in arguments)]
    args = options.parse_args([*given, *arguments])
    for name in ("model",) if args.list else ("model", "target"):
        if getattr(args, name) is None:
            options.error(f"--{name} is required")
    if args.existing + args.list + args.remove > 1:
        options.error("--existing, --list and --remove exclude each other")
    if args.adapter and (args.existing or args.allow or args.ignore):
        options.error("--adapter takes just the files of an adapter: no --existing, --allow and --ignore")
    if not re.match(r"https?://[^/\s]+", args.endpoint):
        options.error(f"--endpoint {args.endpoint!r} is not an http or https address")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; returns the exit code."""
    args = parse(sys.argv[1:] if arguments is None else arguments)
    os.umask(0o002)  # other pods of the same fsGroup must be able to lock and to repair
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # a process with id 1 ignores them otherwise
        signal.signal(number, lambda *_: stopped.set())
    token = local.take_token(os.environ)
    local.strip_proxies(os.environ)
    mask = local.Mask.of(token, args.endpoint, os.environ)
    sys.stderr = local.MaskedStream(sys.stderr, mask)
    progress = Progress(args.json, mask)
    options = Options(
        model=args.model,
        revision=args.revision,
        endpoint=args.endpoint.rstrip("/"),
        target=(args.target or Path()).absolute(),
        token=token,
        allow_http_token=args.allow_http_token,
        allow=args.allow or (),
        ignore=args.ignore or (),
        max_workers=args.max_workers,
        limit_rate=args.limit_rate,
        stall_timeout=args.stall_timeout,
        give_up_after=args.give_up_after,
        verify=args.verify,
        existing=args.existing,
        adapter=args.adapter,
    )
    try:
        result = _run(args, options, progress, stopped)
    except Exception as error:
        failure = error if isinstance(error, Failure) else _mistake(error)
        if stopped.is_set():
            failure = Failure(Reason.STOPPED, str(failure))
        result = report.failure_report(failure)
        if options.model not in result["message"]:
            context = f"{options.model} at {options.revision} from {local.without_user(options.endpoint)}"
            result["message"] = f"{result['message']} ({context})"
        progress.event("failed", f"failed: {failure.reason}: {result['message']}", **result)
        _leave_report(mask.value(result), args.termination_log)
        return failure.exit_code
    progress.event("complete", _summary(args, options, result), **result)
    _leave_report(mask.value(result), args.termination_log)
    return 0


def _mistake(error: Exception) -> Failure:
    """What nobody thought of is said as well, where the operator reads it."""
    traceback.print_exc()
    return Failure(Reason.DOWNLOAD_FAILED, f"a mistake of qwen3-download: {type(error).__name__}: {error}")


def _leave_report(result: dict[str, Any], path: Path | None) -> None:
    """A report that cannot be written changes nothing about the download."""
    try:
        report.write(result, path)
    except OSError as error:
        print(f"qwen3-download: cannot write the termination message: {error}", file=sys.stderr)


def _run(args: argparse.Namespace, options: Options, progress: Progress, stopped: threading.Event) -> dict[str, Any]:
    if args.list:
        return survey(options, progress, stopped)
    if args.remove:
        return remove(options, progress, stopped)
    return Download(options, progress, stopped).run()


def _summary(args: argparse.Namespace, options: Options, result: Mapping[str, Any]) -> str:
    size = human(result["bytes"])
    if args.list:
        return f"{options.model} at {result['commit']}: {result['files']} files, {size}"
    if args.remove:
        return f"removed: {options.target}: {size}"
    text = f"complete: {options.target}: {result['files']} files, {size} in {result['seconds']:.1f} s"
    return f"{text} ({human(result['bytesPerSecond'])}/s)"
