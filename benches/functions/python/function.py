"""What the Python functions share: sizes, random input, checksum and command line.

A function is a module with `SIZES` (what `tiny`, `small` and `full` mean to it) and
`handler(event, context)`, which takes the size from `event["size"]` and returns a JSON-able
dictionary made by `answer`. Nothing here imports more than an interpreter has loaded anyway, apart
from `random` and `zlib`: start-up belongs to what is measured.
"""
import importlib
import os
import random
import sys
import zlib


def source(name):
    """A random source that gives the same numbers in every process and every CPython version.

    Only `random`, `randrange`, `choice`, `getrandbits` and `shuffle` are stable across versions.
    """
    return random.Random(name)


def answer(output, **facts):
    """The handler's answer about its output: CRC-32 and length of its bytes, and some facts."""
    data = output.encode("utf-8") if isinstance(output, str) else output
    return dict(facts, checksum="%08x" % zlib.crc32(data), bytes=len(data))


def need(module):
    """Imports what is not in the standard library, or says in one line how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        sys.exit("%s: %s -m pip install -r %s" % (
            error, sys.executable, os.path.join(os.path.dirname(__file__), "requirements.txt")))


def main(name, sizes, handler):
    """Runs `python3 NAME.py [tiny|small|full] [--repeat N]`: N invocations in one process.

    Prints `NAME SIZE CHECKSUM BYTES` once; all invocations must agree on it.
    """
    size, repeat, words = "full", 1, sys.argv[1:]
    try:
        while words:
            word = words.pop(0)
            if word == "--repeat":
                repeat = int(words.pop(0))
            elif word in sizes:
                size = word
            else:
                raise ValueError(word)
        if repeat < 1:
            raise ValueError(repeat)
    except (ValueError, IndexError):
        sys.exit("usage: %s.py [%s] [--repeat N]" % (name, "|".join(sizes)))
    answers = {(a["checksum"], a["bytes"])
               for a in (handler({"size": size}, None) for _ in range(repeat))}
    if len(answers) != 1:
        sys.exit("%s: invocations disagree: %s" % (name, sorted(answers)))
    print(name, size, *answers.pop())
