#!/usr/bin/env python3
"""Runs CPython's own regression tests with and without a shim, and compares case by case.

    regression.py --shim libmemento_python.so [--python PYTHON] [--write FILE] [MODULE...]

A module may be a pattern. Without modules: those that have to do with memory, processes and threads. The
tests must be installed beside the interpreter (Debian: libpython3.11-testsuite).

A case that comes out differently is tried again on both sides, twice: CPython's tests have cases that depend on
time. What never comes out alike is a difference; the exit status is 1 then.
"""

import argparse
import datetime
import fnmatch
import json
import os
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

MODULES = (
    "test_capi test_gc test_dict test_list test_set test_str* test_bytes test_json test_re test_threading "
    "test_thread test_fork1 test_subprocess test_multiprocessing_* test_concurrent_futures test_asyncio test_ctypes "
    "test_decimal test_pickle test_zlib test_sqlite test_sqlite3 test_tracemalloc test_embed"
).split()

ABOUT = (
    "import json, os, platform, sys, test; names = set(os.path.splitext(n)[0] for d in test.__path__ "
    "for n in os.listdir(d)); print(json.dumps([platform.python_version(), sys.executable, "
    "sorted(n for n in names if n.startswith('test_'))]))"
)

# Seconds after which a module counts as hung.
HUNG = 1500


class Side:
    """One way of running the tests."""

    def __init__(self, python, shim):
        self.python = python
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MEMENTO_", "LD_"))}
        if shim:
            self.environment["LD_PRELOAD"] = shim
            # Tests that start children in development mode compare all that these write.
            self.environment["MEMENTO_CONF"] = "python_quiet:1"

    def run(self, module):
        """Outcome of each case, by name. A module that could not be run at all has one case."""
        with tempfile.TemporaryDirectory() as scratch:
            report = os.path.join(scratch, "report.xml")
            command = [self.python, "-m", "test", "--junit-xml", report, module]
            try:
                done = subprocess.run(
                    command, env=self.environment, cwd=scratch, timeout=HUNG, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                )
            except subprocess.TimeoutExpired:
                return {module: "hung"}
            cases = {}
            if os.path.exists(report):
                for case in xml.parse(report).iter("testcase"):
                    cases[case.get("name")] = outcome(case)
            # Skipped as a whole, or killed: what it says last is the outcome.
            cases[module] = verdict(done)
            return cases


def outcome(case):
    """A case's outcome in one word."""
    for kind in ("failure", "error", "skipped"):
        if case.find(kind) is not None:
            return kind
    return case.get("result", "ok")


def verdict(done):
    """How a module's run ended."""
    if done.returncode < 0:
        return "signal %d" % -done.returncode
    text = done.stdout.decode(errors="replace")
    for line in reversed(text.splitlines()):
        if line.startswith(("Tests result:", "Result:")):
            return line.split(": ", 1)[1]
    return "exit %d" % done.returncode


def different(stock, served):
    """Names of the cases that came out differently."""
    return {name for name in set(stock) | set(served) if stock.get(name) != served.get(name)}


def compare(module, sides):
    """Both sides' outcomes of a module, and the cases that never came out alike."""
    stock, served = (side.run(module) for side in sides)
    left = different(stock, served)
    tries = 1
    while left and tries < 3:
        tries += 1
        again = [side.run(module) for side in sides]
        left &= different(*again)
    return stock, served, sorted(left), tries


def row(module, stock, served, left, tries):
    """A row of the table."""
    cases = [name for name in stock if name != module]
    counts = {kind: sum(stock[n] == kind for n in cases) for kind in ("ok", "completed", "run", "skipped", "failure", "error")}
    passed = counts["ok"] + counts["completed"] + counts["run"]
    failed = counts["failure"] + counts["error"]
    same = "same" if not left else "DIFFERENT: " + ", ".join(
        "%s %s → %s" % (name, stock.get(name), served.get(name)) for name in left
    )
    if tries > 1 and not left:
        same = "same at try %d" % tries
    return "| %s | %s | %d | %d | %d | %s |" % (module, stock[module], passed, counts["skipped"], failed, same)


def main():
    # A shell that is not interactive has what it starts in the background ignore it, and so its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shim", required=True)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--write", help="a file to which the table is added")
    parser.add_argument("modules", nargs="*", default=MODULES)
    arguments = parser.parse_args()
    shim = os.path.abspath(arguments.shim)
    about = subprocess.run([arguments.python, "-c", ABOUT], stdout=subprocess.PIPE, check=True)
    version, python, names = json.loads(about.stdout)
    modules = [n for n in names if any(fnmatch.fnmatch(n, pattern) for pattern in arguments.modules)]
    if not modules:
        sys.exit("no such tests are installed for %s" % python)
    sides = Side(python, None), Side(python, shim)
    lines = [
        "",
        "## CPython %s, %s" % (version, datetime.date.today().isoformat()),
        "",
        "| module | stock | passed | skipped | failed | with the shim |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    print("\n".join(lines[1:]), flush=True)
    bad = 0
    for module in modules:
        stock, served, left, tries = compare(module, sides)
        bad += bool(left)
        lines.append(row(module, stock, served, left, tries))
        print(lines[-1], flush=True)
    if arguments.write:
        with open(arguments.write, "a", encoding="utf-8") as table:
            table.write("\n".join(lines) + "\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
