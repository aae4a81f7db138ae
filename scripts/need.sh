# shellcheck shell=bash
# Sourced by the other scripts: makes sure that tools are there. What is missing is installed with
# apt where that is possible, and otherwise named in one line.

# Whether apt can be used, and how: nothing as root, `sudo -n` where it needs no password.
apt_prefix() {
    command -v apt-get > /dev/null || return 1
    if [ "$(id -u)" = 0 ]; then echo env; elif sudo -n true 2> /dev/null; then echo sudo; else return 1; fi
}

apt_updated=no

# need PACKAGE PROBE... — PROBE is a command's name or an absolute path; PACKAGE is Debian's name for
# what provides it. Installs the package if a probe is missing.
need() {
    local package=$1 probe missing=no prefix
    shift
    for probe; do
        case $probe in
            /*) [ -e "$probe" ] || missing=yes ;;
            *) command -v "$probe" > /dev/null || missing=yes ;;
        esac
    done
    [ $missing = no ] && return 0
    if prefix=$(apt_prefix); then
        if [ $apt_updated = no ]; then
            "$prefix" apt-get update -qq > /dev/null 2>&1 || true
            apt_updated=yes
        fi
        echo "installing $package"
        if "$prefix" apt-get install -y -qq --no-install-recommends "$package" > /dev/null 2>&1; then
            return 0
        fi
    fi
    echo "missing: $* — install Debian's package $package" >&2
    return 1
}

# What both README commands need.
need_common() {
    local bad=0
    if ! command -v cargo > /dev/null; then
        echo "missing: cargo — install a Rust toolchain, 1.88 or newer, with rustup" >&2
        bad=1
    fi
    need gcc gcc || bad=1
    need g++ g++ || bad=1
    need binutils readelf ld || bad=1
    need libc6-dev /usr/include/stdlib.h || bad=1
    need python3 python3 || bad=1
    return $bad
}

# What the tests need besides.
need_tests() {
    local bad=0
    need nodejs node || bad=1
    need git git || bad=1
    need sqlite3 sqlite3 || bad=1
    need perl perl || bad=1
    need tar tar || bad=1
    need gzip gzip || bad=1
    need findutils find xargs || bad=1
    need gawk awk || bad=1
    need valgrind valgrind callgrind_annotate || bad=1
    need qemu-user qemu-riscv64 || bad=1
    need gcc-riscv64-linux-gnu riscv64-linux-gnu-gcc || bad=1
    need libc6-dev-riscv64-cross /usr/riscv64-linux-gnu/include/stdlib.h || bad=1
    return $bad
}
