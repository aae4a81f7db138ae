#!/usr/bin/env python3
"""Writes a wheel of a directory: ``build_wheel.py TREE VERSION ARCHITECTURE OUTPUT-DIRECTORY``.

The tree holds what goes into site-packages. The wheel's tag promises what a test holds: no symbol newer than glibc 2.17,
and nothing of Python's own interface.
"""

import base64
import hashlib
import pathlib
import sys
import zipfile

NAME = "memento_functions"
METADATA = """Metadata-Version: 2.1
Name: memento-functions
Version: {version}
Summary: Memory management for functions that live for milliseconds
License: MIT OR Apache-2.0
Requires-Python: >=3.8
"""
WHEEL = """Wheel-Version: 1.0
Generator: memento
Root-Is-Purelib: false
Tag: py3-none-manylinux_2_17_{architecture}
Tag: py3-none-manylinux2014_{architecture}
"""
# The same content gives the same file.
TIME = (2020, 1, 1, 0, 0, 0)


def main(tree, version, architecture, output):
    info = "%s-%s.dist-info" % (NAME, version)
    tag = "py3-none-manylinux_2_17_%s.manylinux2014_%s" % (architecture, architecture)
    files = [
        (path.relative_to(tree).as_posix(), path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(pathlib.Path(tree).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]
    files.append((info + "/METADATA", METADATA.format(version=version).encode(), 0o644))
    files.append((info + "/WHEEL", WHEEL.format(architecture=architecture).encode(), 0o644))
    record = "".join("%s,sha256=%s,%d\n" % (name, digest(data), len(data)) for name, data, _ in files)
    files.append((info + "/RECORD", (record + info + "/RECORD,,\n").encode(), 0o644))
    wheel = pathlib.Path(output) / ("%s-%s-%s.whl" % (NAME, version, tag))
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in files:
            entry = zipfile.ZipInfo(name, TIME)
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)


def digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


main(*sys.argv[1:])
