"""Memory and CPU time of a process and all its descendants."""

import collections
import os

# What a mapping of shared memory, which is no file, is called.
SHARED = ("/dev/zero", "/dev/shm/", "/SYSV", "/memfd:", "/anon_hugepage")


def descendants(pid):
    """The process and its descendants, as they are now."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir("/proc/%d/task" % parent):
                with open("/proc/%d/task/%s/children" % (parent, task)) as file:
                    found += map(int, file.read().split())
        except OSError:
            # It has ended meanwhile.
            continue
    return found


def resident_kib(pid):
    """KiB resident of a tree of processes, each page counted once, as if nothing else ran on the machine.

    What the processes share with one another is counted in proportion, and so once in the sum; that is the kernel's proportional
    set size, but for pages of files. Those are shared with processes outside, too, as with the server's twin that this one is
    compared with: of each mapping, the process that has most of it counts.
    """
    total = 0
    files = collections.Counter()
    for process in descendants(pid):
        try:
            with open("/proc/%d/smaps_rollup" % process) as rollup, open("/proc/%d/smaps" % process) as maps:
                total += sum(int(line.split()[1]) for line in rollup if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
                for name, kib in of_files(maps):
                    files[name] = max(files[name], kib)
        except (OSError, ValueError):
            continue
    return total + sum(files.values())


def of_files(maps):
    """KiB of each mapping's pages that are a file's, by the file and the place in it."""
    name, resident = None, 0
    for line in maps:
        words = line.split()
        if not words[0].endswith(":"):
            path = words[5] if len(words) > 5 else ""
            name = (path, words[2]) if path.startswith("/") and not path.startswith(SHARED) else None
        elif name and words[0] == "Rss:":
            resident = int(words[1])
        elif name and words[0] == "Anonymous:":
            yield name, resident - int(words[1])


def cpu_seconds(pid):
    """CPU time of a tree of processes, with those that have ended and were waited for."""
    ticks = 0
    for process in descendants(pid):
        try:
            with open("/proc/%d/stat" % process) as file:
                ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def loaded(pid, name):
    """Number of processes of the tree that have a shared object mapped, and of those that have not."""
    counts = [0, 0]
    for process in descendants(pid):
        try:
            with open("/proc/%d/maps" % process) as file:
                maps = file.read()
                # None of a process that has ended and was not waited for yet.
                if maps:
                    counts[name not in maps] += 1
        except OSError:
            continue
    return tuple(counts)
