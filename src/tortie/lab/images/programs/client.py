"""The image `tortie/client`: calls its targets again and again, one line of output for each result.

In: URLs and options on the command line (or TARGETS, INTERVAL, TIMEOUT, COUNT in the environment). Out: lines
`<time> <ok|FAIL> <url> <result> <milliseconds>`; with --count, an exit status of 1 if the last round had a failure.
"""

import os
import sys
import time

from tortie.lab.images.programs.call import call
from tortie.lab.images.programs.http_server import exit_on_sigterm

_USAGE = "usage: client [--interval SECONDS] [--timeout SECONDS] [--count ROUNDS] URL…\n"


def main() -> None:
    exit_on_sigterm()
    interval = float(os.environ.get("INTERVAL", "1"))
    timeout = float(os.environ.get("TIMEOUT", "2"))
    count = int(os.environ.get("COUNT", "0"))
    targets = os.environ.get("TARGETS", "").replace(",", " ").split()
    arguments = sys.argv[1:]
    while arguments:
        argument = arguments.pop(0)
        name, _, value = argument.partition("=")
        if name in ("--interval", "--timeout", "--count"):
            number = value or (arguments.pop(0) if arguments else "")
            if name == "--interval":
                interval = float(number)
            elif name == "--timeout":
                timeout = float(number)
            else:
                count = int(number)
        elif argument.startswith("-"):
            sys.stderr.write(_USAGE)
            raise SystemExit(2)
        else:
            targets.append(argument)
    if not targets:
        sys.stderr.write(_USAGE)
        raise SystemExit(2)
    turn = 0
    while True:
        failed = False
        for url in targets:
            result = call(url, timeout=timeout)
            failed = failed or not result.ok
            moment = time.strftime("%H:%M:%S", time.gmtime())
            word = "ok" if result.ok else "FAIL"
            sys.stdout.write(f"{moment} {word} {url} {result.text} {result.milliseconds:.1f}ms\n")
            sys.stdout.flush()
        turn += 1
        if count and turn >= count:
            raise SystemExit(1 if failed else 0)
        time.sleep(interval)
