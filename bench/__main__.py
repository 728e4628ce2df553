"""`make bench`: runs every benchmark, prints its lines, and compares them with the stored baseline.

In: `bench_*.py` beside this file, each a program of its own so that none warms another's caches; names of some of them
as arguments. Out: one JSON object a line on stdout; a table of changes on stderr; exit status 1 if a number is worse
than the baseline by more than a fifth. `--save` makes the numbers of this run the baseline.
"""

import argparse
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
TOLERANCE = 0.2
# Units in which more is better; in all others less is.
_MORE_IS_BETTER = ("ratio", "MB/s", "Gbit/s", "1/s", "ops/s", "per second")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help="benchmarks to run, such as calc or lab; all if none is given")
    parser.add_argument("--save", action="store_true", help="make the numbers of this run the baseline")
    options = parser.parse_args()
    machine = {"kernel": platform.release(), "nft": _nft_version(), "cpu": _cpu()}
    lines: list[dict[str, Any]] = []
    failed = []
    for script in sorted(HERE.glob("bench_*.py")):
        name = script.stem.removeprefix("bench_")
        if options.names and name not in options.names:
            continue
        process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                lines.append({**json.loads(line), **machine})
                print(json.dumps(lines[-1]), flush=True)
        if process.wait() != 0:
            failed.append(name)
    worse = _compare(lines)
    if options.save:
        BASELINE.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in failed:
        print(f"benchmark {name} failed", file=sys.stderr)
    return 1 if failed or (worse and not options.save) else 0


def _compare(lines: list[dict[str, Any]]) -> list[str]:
    if not BASELINE.exists():
        return []
    known = {}
    for text in BASELINE.read_text().splitlines():
        entry = json.loads(text)
        known[(entry["name"], str(entry.get("scale")))] = entry["value"]
    worse = []
    for line in lines:
        old = known.get((line["name"], str(line.get("scale"))))
        if not old:
            continue
        change = line["value"] / old - 1
        bad = -change if line["unit"] in _MORE_IS_BETTER else change
        if bad > TOLERANCE:
            worse.append(line["name"])
            text = f"worse: {line['name']} {old:g} -> {line['value']:g} {line['unit']} ({change:+.0%})"
            print(text, file=sys.stderr)
    return worse


def _nft_version() -> str:
    try:
        return subprocess.run(["nft", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "none"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
