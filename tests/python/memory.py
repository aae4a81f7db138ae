"""Everything of CPython that has to do with who allocates: prints the same with memento as without.

Each section is a function; all run in one process, in this order, and print what they found.
"""

import atexit
import ctypes
import gc
import io
import multiprocessing
import os
import queue
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import warnings
import weakref


def tracing():
    """tracemalloc sits on top of the allocator and sees every block."""
    tracemalloc.start(3)
    before = tracemalloc.get_traced_memory()[0]
    kept = [bytes(1000 + n % 7) for n in range(2000)]
    after = tracemalloc.get_traced_memory()[0]
    traced = tracemalloc.get_object_traceback(kept[0]) is not None
    grown = after - before
    del kept
    gc.collect()
    left = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # What was allocated while it was traced is freed when it is not, and the other way round.
    print("tracing", traced, 2_000_000 < grown < 2_300_000, left < 100_000)


def domains():
    """The C interface, as extensions use it: zero sizes, resizing, zeroing, refusal."""
    for name in ("PyMem_", "PyObject_", "PyMem_Raw"):
        function = {}
        for verb, types in (
            ("Malloc", (ctypes.c_size_t,)),
            ("Calloc", (ctypes.c_size_t, ctypes.c_size_t)),
            ("Realloc", (ctypes.c_void_p, ctypes.c_size_t)),
            ("Free", (ctypes.c_void_p,)),
        ):
            found = ctypes.pythonapi[name + verb]
            found.argtypes = types
            found.restype = None if verb == "Free" else ctypes.c_void_p
            function[verb] = found
        malloc, calloc, realloc, free = (function[v] for v in ("Malloc", "Calloc", "Realloc", "Free"))
        empty = [malloc(0) for _ in range(100)] + [calloc(0, 8), calloc(8, 0), realloc(None, 0)]
        distinct = len(set(empty)) == len(empty) and None not in empty
        for each in empty:
            free(each)
        free(None)
        contents = True
        for start in (1, 24, 100, 512, 513, 5000, 40_000, 300_000, 3_000_000):
            block = malloc(start)
            aligned = block % 16 == 0
            text = bytes(n * 37 % 251 for n in range(start))
            ctypes.memmove(block, text, start)
            length = start
            for size in (start + 1, start * 2, start * 5, start * 2, start // 2 + 1, 1, start):
                block = realloc(block, size)
                length = min(length, size)
                contents = contents and ctypes.string_at(block, length) == text[:length]
            block = realloc(block, 0)
            contents = contents and aligned and block is not None
            free(block)
        sizes = (16, 200, 600, 9000, 70_000, 1_000_000)
        dirty = [(malloc(size), size) for size in sizes for _ in range(3)]
        for each, size in dirty:
            ctypes.memset(each, 0xFF, size)
        for each, _ in dirty:
            free(each)
        zero = True
        for size in sizes:
            block = calloc(size // 4, 4)
            zero = zero and not any(ctypes.string_at(block, size))
            free(block)
        refused = malloc(1 << 62) is None and malloc(2**64 - 1) is None and calloc(1 << 33, 1 << 33) is None
        print("domain", name, distinct, contents, zero, refused)


def statistics():
    """Writes to stderr; what it writes depends on the allocator, that it does so must not matter."""
    code = "import sys; sys._debugmallocstats(); print(type(sys.getallocatedblocks()).__name__)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    print("statistics", done.returncode, done.stdout.decode().strip())


def interpreters():
    """Sub-interpreters, some with an allocator state and a lock of their own (3.12)."""
    code = "import json, re\nkept = [json.dumps({'n': n}) for n in range(3000)]\ndel kept\n"
    try:
        import _testcapi

        run = _testcapi.run_in_subinterp
    except ImportError:
        try:
            import _xxsubinterpreters as module
        except ImportError:
            import _interpreters as module

        def run(text):
            made = module.create()
            module.run_string(made, text)
            module.destroy(made)
            return 0

    print("interpreters", [run(code) for _ in range(3)])
    if sys.version_info < (3, 13):
        # They share one state until 3.12, where having one each is new, and fails now and then.
        return
    import _interpreters

    failed = []

    def isolated():
        try:
            made = _interpreters.create()
            for _ in range(3):
                _interpreters.run_string(made, code)
            _interpreters.destroy(made)
        except Exception as error:  # pylint: disable=broad-except
            failed.append(repr(error))

    running = [threading.Thread(target=isolated) for _ in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print("isolated", failed)


def threads():
    """What one thread allocates, another frees."""
    ways = [queue.SimpleQueue() for _ in range(4)]
    sums = [0] * 4

    def pass_on(index):
        for n in range(3000):
            ways[(index + 1) % 4].put({"n": n, "text": "x" * (n % 700), "list": list(range(n % 20))})
            got = ways[index].get()
            sums[index] += got["n"] + len(got["text"]) + sum(got["list"])

    running = [threading.Thread(target=pass_on, args=(n,)) for n in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    print("threads", sums)


def forked():
    """A child has its parent's objects, and frees them; also one forked beside a busy thread."""
    kept = [{"n": n, "text": str(n) * 5} for n in range(20_000)]
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            [str(n) * 3 for n in range(500)]

    thread = threading.Thread(target=busy)
    thread.start()
    codes = []
    for _ in range(5):
        child = os.fork()
        if child == 0:
            total = sum(len(each["text"]) for each in kept)
            kept = [each["text"] for each in kept[::2]]
            more = [n * 1.5 for n in range(20_000)]
            os._exit(7 if total == 444_450 and len(more) == 20_000 else 8)
        codes.append(os.WEXITSTATUS(os.waitpid(child, 0)[1]))
    stop.set()
    thread.join()
    print("forked", codes)


def work(n):
    """For the pools."""
    return sum(len(str(k)) for k in range(n)), multiprocessing.current_process().name != "MainProcess"


def pools():
    """Processes started in every way there is."""
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            print("pool", method, pool.map(work, [1000, 2000, 3000]))


class Noisy:
    """Says when it goes."""

    def __init__(self, name):
        self.name = name

    def __del__(self):
        os.write(1, b"del " + self.name.encode() + b"\n")


ENDING = """
import atexit, os, sys, threading, weakref
sys.path.insert(0, {directory!r})
from memory import Noisy
noisy = Noisy('global')
cycle = Noisy('cycle'); cycle.self = cycle
ref = Noisy('referenced'); weakref.finalize(ref, print, 'finalized')
atexit.register(print, 'atexit one')
atexit.register(lambda: print('atexit two', len([str(n) for n in range(50_000)])))
buffered = open({file!r}, 'w'); buffered.write('x' * 5000 + 'end')
binary = open({file!r} + '.b', 'wb'); binary.write(b'y' * 70_000)
kept = {{n: [str(n), (n, n)] for n in range(50_000)}}
print('last words', end='')
sys.stdout.write('!\\n')
{end}
"""


def ending():
    """At exit callbacks, finalizers and buffers do what they always did, in their order."""
    directory = os.path.dirname(os.path.abspath(__file__))
    for end in ("pass", "sys.exit(3)", "raise KeyError('oh')", "threading.Thread(target=print, args=('late',)).start()"):
        with tempfile.TemporaryDirectory() as scratch:
            file = os.path.join(scratch, "file")
            code = ENDING.format(directory=directory, file=file, end=end)
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with open(file, encoding="ascii") as text, open(file + ".b", "rb") as binary:
                print("ending", done.returncode, text.read()[-3:], len(binary.read()))
            print(done.stdout.decode().replace(scratch, "."), done.stderr.decode().splitlines()[-1:])


def caches():
    """Whatever keeps objects and gives them back at once."""
    alive = weakref.WeakValueDictionary()
    for round_ in range(20):
        layer = [type("T%d" % n, (), {"__slots__": ("a", "b", "__weakref__")})() for n in range(200)]
        alive.update(enumerate(layer))
        buffer = io.BytesIO()
        for n in range(300):
            buffer.write(bytes([n % 256]) * n)
        del layer
        gc.collect()
    print("caches", len(alive), len(buffer.getvalue()))


def main():
    # That forking beside threads is dangerous: it is what is tried here.
    warnings.simplefilter("ignore", DeprecationWarning)
    for section in (domains, tracing, statistics, interpreters, threads, forked, pools, ending, caches):
        section()
        sys.stdout.flush()
    atexit.register(print, "end")


if __name__ == "__main__":
    main()
