#!/usr/bin/env python3
"""What there is to win for each Python function, and what the Python shim wins of it.

    memento bench python --size full --only stock,shim --allocator shim=libmemento_python.so --export bench.json
    limits.py --shim libmemento_python.so --bench bench.json [--rounds 20] [--python PYTHON] [FUNCTION...]

The limit of a function is what an allocator that costs nothing would win: its share of the instructions, and the share
of the time that goes to page faults.

allocator   Instructions by callgrind: the function's on stock, less what the same run under the shim spends outside of the
            shim. That needs no symbols, and counts what the compiler inlined into its callers.
faults      Samples of a stock run that lie in the kernel's page-fault handler, by perf. Some 520 faults of each
            run are the interpreter's own pages and libraries, which no allocator saves.

CPU time    The ratio that `memento bench` found, or with --rounds one that is closer: in each round, both runs are started
            at once on one CPU, so that whatever else the machine does, and its clock, concerns both alike. The
            geometric mean of the rounds' ratios, and twice its standard error on both sides.

Instructions are of one run with a fixed hash seed, at size `small`, with what an empty script takes subtracted from both
(times and faults are of whole runs at size `full`). Needs valgrind, and perf as root.
"""

import argparse
import glob
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "python")


def environment(shim=None):
    """What every run has; nothing of the caller's that the interpreter would obey."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MEMENTO_", "LD_"))}
    if "PYTHONPATH" in os.environ:
        kept["PYTHONPATH"] = os.environ["PYTHONPATH"]
    kept.update(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
    if shim:
        kept["LD_PRELOAD"] = shim
    return kept


def instructions(command, shim=None):
    """Instructions of a run, and those of them that were spent in the shim."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "out")
        subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, "--compress-strings=no"] + command,
            env=environment(shim), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )
        total = inside = 0
        here = False
        called = False
        with open(out, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith("ob="):
                    here = bool(shim) and os.path.basename(shim) in line
                elif line.startswith("calls="):
                    called = True
                elif line[0].isdigit() or line[0] in "+-*":
                    # The line after a call has the callee's cost, which the callee's own lines have, too.
                    if not called:
                        cost = int(line.split()[1])
                        total += cost
                        inside += cost if here else 0
                    called = False
        return total, inside


def faults(command):
    """The share of the samples that lie in the page-fault handler."""
    with tempfile.TemporaryDirectory() as scratch:
        data = os.path.join(scratch, "data")
        subprocess.run(
            ["perf", "record", "-q", "-g", "-F", "10000", "-e", "cpu-clock", "-o", data, "--"] + command,
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
        )
        report = subprocess.run(
            ["perf", "report", "-i", data, "--children", "--stdio", "-g", "none"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True,
        ).stdout.decode()
    found = re.search(r"^\s*([\d.]+)%.*asm_exc_page_fault", report, re.M)
    return float(found.group(1)) / 100 if found else 0.0


def started(command, seed, shim=None):
    """A run that was started on the last CPU of those allowed, and is not waited for."""
    env = dict(environment(shim), PYTHONHASHSEED=str(seed))
    cpu = {max(os.sched_getaffinity(0))}
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL,
                            preexec_fn=lambda: os.sched_setaffinity(0, cpu))


def cpu_seconds(process):
    """What it used, once it has ended."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        sys.exit("%s: status %d" % (process.args, status))
    return usage.ru_utime + usage.ru_stime


def paired(command, shim, rounds):
    """The ratio of CPU time with the shim to that without, and its interval."""
    logarithms = []
    for seed in range(rounds):
        kinds = [None, shim]
        random.shuffle(kinds)
        both = {kind: started(command, seed, kind) for kind in kinds}
        seconds = {kind: cpu_seconds(process) for kind, process in both.items()}
        logarithms.append(math.log(seconds[shim] / seconds[None]))
    mean = statistics.mean(logarithms)
    error = 2 * statistics.stdev(logarithms) / math.sqrt(rounds)
    return math.exp(mean), (math.exp(mean - error), math.exp(mean + error))


def measured(path):
    """Ratios of CPU time and of peak memory, and medians of faults, of each function, from `memento bench`."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    table = {}
    for workload in document["workloads"]:
        cells = {cell["allocator"]: cell for cell in workload["cells"]}
        if "shim" in cells and cells["shim"]["ratios"]:
            table[workload["name"].split("/")[-1]] = cells["stock"], cells["shim"]
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--shim", required=True)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--bench", help="results of `memento bench`")
    parser.add_argument("--rounds", type=int, default=0, help="measure CPU time in so many rounds")
    parser.add_argument("functions", nargs="*")
    arguments = parser.parse_args()
    shim = os.path.abspath(arguments.shim)
    asked = [arguments.python, "-c", "import sys; print(sys.executable)"]
    python = subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    table = measured(arguments.bench) if arguments.bench else {}
    names = arguments.functions or sorted(
        os.path.basename(p)[:-3] for p in glob.glob(HERE + "/*.py") if not p.endswith("/function.py")
    )
    print("| function | allocator | the shim's | faults | limit | CPU time with the shim | won of the limit | faults | peak memory |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    base_stock = instructions([python, "-c", "pass"])[0]
    base_total, base_inside = instructions([python, "-c", "pass"], shim)
    for name in names:
        script = os.path.join(HERE, name + ".py")
        stock = instructions([python, script, "small"])[0] - base_stock
        total, inside = instructions([python, script, "small"], shim)
        total, inside = total - base_total, inside - base_inside
        allocator = (stock - (total - inside)) / stock
        kernel = faults([python, script, "full"])
        limit = allocator + kernel
        row = "| %s | %.1f %% | %.1f %% | %.1f %% | %.1f %% |" % (
            name, 100 * allocator, 100 * inside / stock, 100 * kernel, 100 * limit)
        if name in table:
            before, after = table[name]
            cpu = after["ratios"]["cpu_ns"]
            ratio, (low, high) = cpu["ratio"], cpu["interval"] or (float("nan"),) * 2
            if arguments.rounds > 1:
                ratio, (low, high) = paired([python, script, "full"], shim, arguments.rounds)
            row += " %.3f (%.3f–%.3f) | %.0f %% | %d → %d | %.2f |" % (
                ratio, low, high, 100 * (1 - ratio) / limit,
                before["metrics"]["minor_faults"]["median"], after["metrics"]["minor_faults"]["median"],
                after["ratios"]["peak_rss_bytes"]["ratio"])
        print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
