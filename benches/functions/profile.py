#!/usr/bin/env python3
"""Writes PROFILE.md: what each function asks of its allocator, and what it costs under memento.

    scripts/build-shims
    cargo build --release -p memento -p memento-benches
    python3 benches/functions/profile.py --rounds 15 > PROFILE.md

Each function's operations come from a trace by `memento record`; times, faults and peak memory from
`compare`, whose runs are in turns. `--python` and `--node` name the interpreters themselves, not wrappers.
"""
import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMITS = [64, 128, 512, 32 << 10, 256 << 10]
SOON = 16


def size_class(size):
    """The size rounded up: to eight up to 512 bytes, then to a quarter of its power of two."""
    if size <= 512:
        return max(8, (size + 7) & ~7)
    step = 1 << ((size - 1).bit_length() - 3)
    return (size + step - 1) // step * step


class Trace:
    """The figures of one text trace. A `realloc` to another class is an allocation and a free."""

    def __init__(self, lines):
        self.made = collections.Counter()
        self.histogram = [0] * (len(LIMITS) + 1)
        self.frees = self.soon = self.reallocs = self.peak = self.bytes = 0
        self.large = []
        live, current = {}, 0
        classes = {}

        def allocate(name, size):
            nonlocal current
            kind = classes.get(size)
            if kind is None:
                kind = classes[size] = size_class(size)
            self.made[kind] += 1
            self.bytes += size
            current += size
            self.peak = max(self.peak, current)
            live[name] = (kind, self.made[kind], size)

        def free(name):
            nonlocal current
            kind, number, size = live.pop(name)
            self.frees += 1
            self.soon += self.made[kind] - number <= SOON
            current -= size

        for line in lines:
            words = line.split()
            if words[0][0] == "t":
                del words[0]
            operation = words[0]
            if operation == "a":
                allocate(words[1], int(words[2]))
            elif operation == "f":
                free(words[1])
            elif operation == "r":
                self.reallocs += 1
                kind, number, old = live[words[1]]
                new = int(words[3])
                if size_class(new) == kind:
                    current += new - old
                    self.peak = max(self.peak, current)
                    del live[words[1]]
                    live[words[2]] = (kind, number, new)
                else:
                    if words[1] == words[2]:
                        free(words[1])
                        allocate(words[2], new)
                    else:
                        allocate(words[2], new)
                        free(words[1])
        self.alive, self.left = len(live), current
        for kind, count in self.made.items():
            self.histogram[sum(kind > limit for limit in LIMITS)] += count
        self.count = sum(self.made.values())
        self.kept_large = sum(kind > LIMITS[-1] for kind, _, _ in live.values())

    def row(self):
        """The cells of the table of requests."""
        total = max(1, self.count)
        shares = ["%.1f" % (100 * count / total) if count else "–" for count in self.histogram]
        return [str(self.count)] + shares + [
            "%.1f" % (100 * self.soon / total), "%.1f" % (100 * self.alive / total), str(self.reallocs),
            "%.2f" % (self.peak / 2 ** 20), "%.1f" % (self.bytes / 2 ** 20)]

    def hot(self):
        """The six most frequent classes, and the largest ones."""
        total = max(1, self.count)
        frequent = ", ".join("%d: %.0f %%" % (kind, 100 * n / total) for kind, n in self.made.most_common(6))
        large = ["%s × %d" % (power(kind), n) for kind, n in sorted(self.made.items()) if kind > LIMITS[-1]]
        more = " … " if len(large) > 6 else ", "
        shown = more.join(filter(None, [", ".join(large[:3]), ", ".join(large[3:][-3:])]))
        return [frequent, shown or "–", str(self.kept_large) if large else "–"]


def power(size):
    """A size in KiB or MiB."""
    return "%.4g MiB" % (size / 2 ** 20) if size >= 1 << 20 else "%.4g KiB" % (size / 2 ** 10)


def recorded(options, command, environment):
    """The command's trace."""
    with tempfile.TemporaryDirectory() as directory:
        file = os.path.join(directory, "trace")
        subprocess.run([os.path.join(options.bin, "memento"), "record", "--format", "text", "-o", file, "--"] + command, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       env=dict(os.environ, MEMENTO_LIB_DIR=options.libraries, **environment))
        with open(file) as lines:
            return Trace(line for line in lines if line[0] != "#")


def compared(options, command, environment):
    """The cells of the table of costs: CPU ratio, faults and peak memory of both, memory ratio."""
    shim = "memento=" + os.path.join(options.libraries, "libmemento.so")
    text = subprocess.run([os.path.join(options.bin, "compare"), "--rounds", str(options.rounds), "--against", shim, "--"]
                          + command, check=True, capture_output=True, text=True, env=dict(os.environ, **environment)).stdout
    rows = [line for line in text.splitlines() if re.match(r"\s*(as it is|memento) ", line)]
    cells = [re.split(r"\s{2,}", row.strip()) for row in rows]
    (stock, ours) = cells
    peaks = float(stock[-1]), float(ours[-1])
    return [ours[-3], stock[-2], ours[-2], "%+d" % (int(ours[-2]) - int(stock[-2])),
            stock[-1], ours[-1], "%.3f" % (peaks[1] / peaks[0])]


def table(head, rows, texts=1):
    """A Markdown table: the first columns are text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * texts + " ---: |" * (len(head) - texts)]
    print("\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n")


def functions(options):
    """(Title, command, environment) of everything that is measured."""
    found = [("`python3 -c pass`", [options.python, "-c", "pass"], {}), ("`node -e 0`", [options.node, "-e", "0"], {})]
    malloc = {"PYTHONMALLOC": "malloc"}
    for language, interpreter, suffix in (("python", options.python, ".py"), ("node", options.node, ".js")):
        for name in sorted(os.listdir(os.path.join(HERE, language))):
            stem, extension = os.path.splitext(name)
            if extension != suffix or stem == "function":
                continue
            command = [interpreter, os.path.join(HERE, language, name), "full"]
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode != 0:
                sys.exit("%s does not run" % name)
            found.append((language + " " + stem, command, {}))
            if language == "python":
                found.append((language + " " + stem + ", malloc", command, malloc))
    return found


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release")
    parser.add_argument("--libraries", default=os.path.join(HERE, "../../shims/target/release"))
    parser.add_argument("--python", default=os.path.realpath(sys.executable))
    parser.add_argument("--node", default="node")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()

    version = subprocess.run([options.node, "--version"], capture_output=True, text=True).stdout.strip()
    python = subprocess.run([options.python, "--version"], capture_output=True, text=True).stdout.strip()
    print("""\
# What the functions ask of an allocator, and what they get

Written by [profile.py](profile.py) on %s on a shared two-core virtual machine: %s (Debian's), Node %s,
size `full`, packages as pinned. *malloc* rows ran with `PYTHONMALLOC=malloc`; the others let CPython serve objects up
to 512 bytes from arenas that it maps itself, which no malloc sees. Node's rows show what reaches malloc: not V8's heap.

## Requests

From traces by `memento record`. An allocation is a `malloc`, `calloc` and so on, or a `realloc` that leaves its size class
(multiples of 8 up to 512 bytes, above that four classes for each doubling). Shares are of allocations, in per cent.
*Soon*: freed before the %dth next allocation of its class. *Alive*: never freed. Live bytes are as requested.
""" % (time.strftime("%Y-%m-%d"), python, version, SOON + 1))
    measured = functions(options)
    traces = [(title, recorded(options, command, environment)) for title, command, environment in measured]
    table(["function", "allocations", "≤ 64", "≤ 128", "≤ 512", "≤ 32 KiB", "≤ 256 KiB", "larger", "soon", "alive",
           "reallocs", "peak live MiB", "total MiB"], [[title] + trace.row() for title, trace in traces])
    print("The most frequent classes, the classes above 256 KiB with their numbers of allocations (the smallest and\n"
          "the largest), and how many of these are alive at exit.\n")
    table(["function", "most frequent", "above 256 KiB", "kept"], [[title] + trace.hot() for title, trace in traces], texts=3)
    print("""\
## Costs

Stock (glibc 2.36) against `libmemento.so`, %d rounds in turns, whole processes: ratio of CPU time with its 95 %% interval,
medians of minor page faults (`ru_minflt`) and of peak resident memory (`VmHWM`, MiB). A ratio's
interval is what tells; the machine had other work. Faults and memory are stable to about 1 %%. Both sides of a *malloc* row
ran with `PYTHONMALLOC=malloc`.
""" % options.rounds)
    table(["function", "CPU ratio", "faults, stock", "memento", "more", "peak, stock", "memento", "ratio"],
          [[title] + compared(options, command, environment) for title, command, environment in measured])


if __name__ == "__main__":
    main()
