#!/usr/bin/env bash
# Unpacks an older C library of Debian's, with a Python linked against it: old_glibc.sh DIRECTORY. Prints the directory of the
# libraries. Installs nothing: the packages come from the mirror that this system uses, where that still has them.
set -euo pipefail

suite=bullseye
directory=$1
libraries=$directory/root/lib/x86_64-linux-gnu
if [ ! -e "$directory/complete" ]; then
    rm -rf "$directory"
    mkdir -p "$directory"/{root,debs,lists/partial,cache/archives/partial}
    {
        mirror=$(apt-cache policy | sed -n 's|.* \(https\{0,1\}://[^ ]*/debian\) [a-z]*/main .*|\1|p' | head -1)
        keys=/usr/share/keyrings/debian-archive-keyring.gpg
        echo "deb [signed-by=$keys] $mirror $suite main" > "$directory/sources.list"
        apt=(-o Dir::Etc::sourcelist="$directory/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::status=/dev/null
            -o Dir::State::lists="$directory/lists" -o Dir::Cache="$directory/cache" -o Acquire::Languages=none
            -o APT::Sandbox::User=root -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
        apt-get "${apt[@]}" -qq update
        cd "$directory/debs"
        apt-get "${apt[@]}" -qq download libc6 libgcc-s1 libstdc++6 libexpat1 zlib1g libffi7 \
            python3.9-minimal libpython3.9-minimal libpython3.9-stdlib
        for package in *.deb; do dpkg-deb -x "$package" "$directory/root"; done
        rm -rf "$directory"/{debs,lists,cache}
        touch "$directory/complete"
    } >&2
fi
echo "$libraries"
