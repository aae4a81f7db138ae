"""Makes the inputs of the data and platform suites: python3 make.py {shop|layer|container} {tiny|small|full} FILE.

The same every time, whatever the interpreter's version.
"""
import io
import json
import sys
import tarfile

SIZES = {"shop": {"tiny": 60, "small": 3000, "full": 20000}, "layer": {"tiny": 12, "small": 400, "full": 2500},
         "container": {"tiny": 5, "small": 20, "full": 60}}

# What the container's program may do, by the part of the kernel.
CALLS = {
    "files": "access chdir chmod close close_range dup dup2 dup3 faccessat faccessat2 fadvise64 fchdir fchmod fcntl fstat "
             "fstatfs fsync ftruncate getcwd getdents64 ioctl lseek mkdir mkdirat newfstatat open openat pipe pipe2 poll "
             "ppoll pread64 pwrite64 read readlink readlinkat readv rename renameat2 rmdir select pselect6 sendfile stat "
             "statfs statx symlink sync umask unlink unlinkat utimensat write writev",
    "memory": "brk madvise mincore mlock mmap mprotect mremap msync munlock munmap membarrier",
    "processes": "arch_prctl capget clone clone3 execve execveat exit exit_group fork futex getegid geteuid getgid "
                 "getgroups getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage gettid "
                 "getuid kill prctl prlimit64 rseq rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend "
                 "sched_getaffinity sched_yield set_robust_list set_tid_address setgid setgroups setpgid setsid setuid "
                 "sigaltstack tgkill uname vfork wait4 waitid",
    "network": "accept accept4 bind connect epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 getpeername "
               "getsockname getsockopt listen recvfrom recvmsg sendmsg sendto setsockopt shutdown socket socketpair",
    "time": "clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep timer_create timer_settime timerfd_create "
            "timerfd_settime times",
}


def source():
    """Numbers from 0 to below a bound, by a linear congruential generator."""
    state = 12345

    def draw(bound):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & (2 ** 64 - 1)
        return (state >> 33) % bound
    return draw


def shop(count):
    """SQL: customers, orders and lines; an index, updates, and questions with one answer each."""
    draw = source()
    yield "CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, city TEXT);"
    yield "CREATE TABLE line(id INTEGER PRIMARY KEY, customer INT, sku TEXT, cents INT, note TEXT);"
    yield "BEGIN;"
    for i in range(count // 5 + 1):
        yield "INSERT INTO customer VALUES(%d,'Customer %d','City %d');" % (i, draw(10 ** 6), draw(40))
    for i in range(count):
        row = (i, draw(count // 5 + 1), draw(500), draw(20000), "n" * draw(60))
        yield "INSERT INTO line VALUES(%d,%d,'P-%d',%d,'%s');" % row
    yield "COMMIT;"
    yield "CREATE INDEX by_customer ON line(customer);"
    yield "UPDATE line SET cents = cents + 7, note = note || '!' WHERE id % 3 = 0;"
    yield "DELETE FROM line WHERE id % 17 = 5;"
    yield "SELECT count(*), sum(cents), sum(length(note)) FROM line;"
    yield "SELECT city, sum(cents) FROM customer JOIN line ON customer.id = line.customer GROUP BY city ORDER BY 2 DESC, 1 LIMIT 3;"
    yield "SELECT sku, count(*) FROM line GROUP BY sku ORDER BY 2 DESC, 1 LIMIT 3;"


def layer(count, file):
    """A container image's layer: files in directories, of a few bytes to some KB."""
    draw = source()
    with tarfile.open(file, "w:gz", compresslevel=6) as archive:
        for i in range(count):
            words = " ".join("word%d" % draw(5000) for _ in range(draw(900)))
            data = words.encode()
            entry = tarfile.TarInfo("usr/lib/part%02d/module%d.txt" % (draw(60), i))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def container(count):
    """The configuration of a container that runs a shell on the host's programs; `count` variables are set."""
    here = ["/bin", "/lib", "/lib64", "/usr"]
    capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    mounts = [{"destination": "/proc", "type": "proc", "source": "proc"},
              {"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind", "ro"]}]
    mounts += [{"destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"]} for path in here]
    allowed = [{"names": names.split(), "action": "SCMP_ACT_ALLOW"} for names in CALLS.values()]
    return {
        "ociVersion": "1.0.0",
        "hostname": "function",
        "annotations": {"org.example.part%d" % i: "value of part %d" % i for i in range(count)},
        "root": {"path": "rootfs", "readonly": True},
        "mounts": mounts,
        "process": {
            "terminal": False, "noNewPrivileges": True, "cwd": "/", "user": {"uid": 0, "gid": 0},
            "args": ["/bin/sh", "-c", "cksum < /data"],
            "env": ["PATH=/usr/bin:/bin"] + ["VARIABLE_%d=value %d" % (i, i) for i in range(count)],
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "capabilities": {kind: capabilities for kind in ("bounding", "effective", "permitted")},
        },
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/irq", "/proc/sys"],
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": allowed},
        },
    }


def main():
    """Writes one input."""
    kind, size, file = sys.argv[1:]
    count = SIZES[kind][size]
    if kind == "shop":
        with open(file, "w") as out:
            out.writelines(line + "\n" for line in shop(count))
    elif kind == "layer":
        layer(count, file)
    else:
        with open(file, "w") as out:
            json.dump(container(count), out)


main()
