#!/usr/bin/env python3
"""Loads servers that run with and without memento by real clients, and compares what they answer and what memory they hold.

    soak.py --shim libmemento_all.so [--seconds 120 | --rounds 2] [--write FILE] [SERVER...]

Both instances of a server run at the same time and get the same requests, in rounds: a round begins when both have
finished the one before. The exit status is 1 if answers differ, a client complains, memory goes on growing, or more than 1.2 times
stock's is held after the load.
"""

import argparse
import datetime
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import memory
import servers

# Held after the load, as a multiple of stock's. In the short form V8 may just have collected its garbage on one side, or be about to.
MOST = 1.2
MOST_SOON = 1.3
# The last quarter of the load may hold more than each of the first two by this much, or by what stock's grows by. A server whose
# memory comes and goes may have been low in one of them.
GROWTH = 1.05
# Seconds between looks at the memory, and until a server without load has come to rest, also in the short form.
LOOK = 0.5
REST = 3
REST_SOON = 0.5


class Instance:
    """A running server on one side."""

    def __init__(self, server, directory, shim):
        directory.mkdir()
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "MEMENTO_", "MALLOC_", "PYTHON"))}
        if shim:
            # Where every user can read it.
            library = shutil.copy(shim, directory / "libmemento_all.so")
            os.chmod(library, 0o755)
            environment["LD_PRELOAD"] = str(library)
        self.server = server
        self.served = bool(shim)
        self.side = servers.Side(directory, free_port(), environment)
        self.samples = []
        self.failure = None
        server.prepare(self.side)
        as_user = {"user": server.user} if server.user and os.geteuid() == 0 else {}
        if as_user:
            account = pwd.getpwnam(server.user)
            environment.update(HOME=account.pw_dir, USER=server.user)
        self.log = open(directory / "log", "wb")
        self.process = subprocess.Popen(server.start(self.side), env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT, **as_user)

    def wait_ready(self):
        """Until it accepts connections."""
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError("%s ended at once: %s" % (self.server.name, self.said()))
            try:
                socket.create_connection(("127.0.0.1", self.side.port), timeout=5).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("%s does not answer: %s" % (self.server.name, self.said()))

    def said(self):
        return (self.side.directory / "log").read_text(errors="replace")[-2000:]

    def look(self):
        self.samples.append(memory.resident_kib(self.process.pid))

    def round(self, requests):
        """One round of the clients' requests; what goes wrong is kept."""
        try:
            for command, must, must_not in self.server.load(self.side, requests):
                text = servers.said(command)
                if must not in text or must_not and re.search(must_not, text):
                    raise RuntimeError("%s: %s" % (" ".join(command), text[-2000:]))
        except RuntimeError as failure:
            self.failure = failure

    def check_loaded(self):
        with_it, without = memory.loaded(self.process.pid, "libmemento_all.so")
        if (with_it, without)[self.served] > 0:
            raise RuntimeError("%s: %d processes with memento, %d without" % (self.server.name, with_it, without))

    def stop(self):
        """Ends it; how it ended, and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(getattr(signal, self.server.stop_signal))
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return "did not end"
        self.log.close()
        return self.process.returncode


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def quarters(samples):
    """Medians of the four quarters of a run."""
    size = max(1, len(samples) // 4)
    return [statistics.median(samples[i * size:(i + 1) * size] or samples[-1:]) for i in range(4)]


def loaded_rounds(pair, requests, enough):
    """Rounds on both instances until `enough(rounds)`; memory is looked at all the while."""
    rounds = 0
    while not enough(rounds):
        clients = [threading.Thread(target=instance.round, args=(requests,)) for instance in pair]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            for instance in pair:
                instance.look()
            clients[0].join(LOOK)
        for client in clients:
            client.join()
        for instance in pair:
            if instance.failure:
                raise instance.failure
        rounds += 1
    return rounds


def rest(pair, seconds):
    """What each holds without load."""
    time.sleep(seconds)
    held = [[], []]
    for _ in range(5):
        for instance, samples in zip(pair, held):
            samples.append(memory.resident_kib(instance.process.pid))
        time.sleep(0.2)
    return [statistics.median(samples) for samples in held]


def soak(server, shim, seconds, rounds, scratch):
    """A row of the table, and what is wrong."""
    pair = [Instance(server, scratch / "stock", None), Instance(server, scratch / "memento", shim)]
    wrong = []
    try:
        for instance in pair:
            instance.wait_ready()
        first = [server.answers(instance.side) for instance in pair]
        begin = [memory.cpu_seconds(instance.process.pid) for instance in pair]
        end = time.monotonic() + seconds
        requests = server.requests[bool(rounds)]
        done = loaded_rounds(pair, requests, (lambda n: n >= rounds) if rounds else (lambda n: time.monotonic() >= end))
        cpu = [memory.cpu_seconds(instance.process.pid) - b for instance, b in zip(pair, begin)]
        held = rest(pair, REST_SOON if rounds else REST)
        last = [server.answers(instance.side) for instance in pair]
        for instance in pair:
            instance.check_loaded()
    finally:
        ends = [instance.stop() for instance in pair]
    if first[0] != first[1] or last[0] != last[1]:
        wrong.append("answers differ")
    if ends[0] != ends[1]:
        wrong.append("ended with %s, stock with %s" % (ends[1], ends[0]))
    if held[1] > (MOST_SOON if rounds else MOST) * held[0]:
        wrong.append("holds %.2f of stock's" % (held[1] / held[0]))
    levels = [quarters(instance.samples) for instance in pair]
    growth = [level[3] / max(level[:2]) for level in levels]
    if not rounds and growth[1] > max(GROWTH, growth[0] + 0.02):
        wrong.append("grows by %.2f" % growth[1])
    mib = lambda kib: "%.1f" % (kib / 1024)
    row = [server.name, str(done), *(", ".join(mib(kib) for kib in level) for level in levels), mib(held[0]), mib(held[1]),
           "%.2f" % (held[1] / held[0]), "%.2f" % (cpu[1] / cpu[0]) if cpu[0] else "", "; ".join(wrong) or "same"]
    return "| " + " | ".join(row) + " |", wrong


HEAD = """
| server | rounds | stock, MiB under load by quarters | memento | at rest: stock | memento | ratio | CPU time | results |
| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | --- |"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shim", required=True)
    parser.add_argument("--seconds", type=float, default=120, help="of load for each server (default: 120)")
    parser.add_argument("--rounds", type=int, default=0, help="small rounds instead of seconds: the short form")
    parser.add_argument("--write", help="a file to which the table is added")
    parser.add_argument("servers", nargs="*", default=[server.name for server in servers.ALL])
    arguments = parser.parse_args()
    lines = ["", "## %s, %.0f s each" % (datetime.date.today().isoformat(), arguments.seconds), *HEAD.splitlines()]
    print(HEAD, flush=True)
    failures = 0
    for server in servers.ALL:
        if server.name not in arguments.servers:
            continue
        obstacle = server.obstacle()
        if obstacle:
            print("%s not run: %s" % (server.name, obstacle), flush=True)
            continue
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            os.chmod(scratch, 0o755)
            try:
                row, wrong = soak(server, arguments.shim, arguments.seconds, arguments.rounds, pathlib.Path(scratch))
            except RuntimeError as failure:
                row, wrong = "%s failed: %s" % (server.name, failure), True
        failures += bool(wrong)
        lines.append(row)
        print(row, flush=True)
    if arguments.write:
        with open(arguments.write, "a", encoding="utf-8") as table:
            table.write("\n".join(lines) + "\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
