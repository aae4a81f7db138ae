"""Threads, multiprocessing by fork and by spawn, subprocesses, and a large pile of objects."""
import concurrent.futures
import gc
import hashlib
import json
import multiprocessing
import queue
import re
import subprocess
import sys
import threading


def digest(n):
    rows = [{"id": i, "name": "name %d" % i, "tags": [str(i * j) for j in range(i % 7)]} for i in range(n)]
    return hashlib.sha256(json.dumps(json.loads(json.dumps(rows)), sort_keys=True).encode()).hexdigest()[:16]


def produce(out, count):
    for i in range(count):
        out.put([b"x" * (i % 3000), {"n": i}])
    out.put(None)


def main():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(sorted(pool.map(digest, range(100, 140))) == sorted(map(digest, range(100, 140))), digest(500))
    pipe = queue.Queue(50)
    thread = threading.Thread(target=produce, args=(pipe, 3000))
    thread.start()
    total = 0
    while (item := pipe.get()) is not None:
        total += len(item[0]) + item[1]["n"]
    thread.join()
    print(total)
    for method in "fork", "spawn":
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(digest, [10, 200, 30]))
    # A fork while threads run.
    stop = threading.Event()
    noise = [threading.Thread(target=lambda: [digest(5) for _ in iter(stop.is_set, True)]) for _ in range(2)]
    for t in noise:
        t.start()
    print([subprocess.run([sys.executable, "-c", "print(%d ** 20)" % i], capture_output=True).stdout for i in range(4)])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(digest, [7, 8, 9]))
    stop.set()
    for t in noise:
        t.join()
    cycles = [[] for _ in range(20000)]
    for a, b in zip(cycles, cycles[1:]):
        a.append(b), b.append(a)
    del cycles, a, b
    print(gc.collect() > 0, len(re.findall(r"\b\w+ing\b", "something interesting is going on " * 2000)))
    print(sum(len(bytes(i)) for i in range(0, 2000000, 99991)))
    sys.exit(5)


if __name__ == "__main__":
    main()
