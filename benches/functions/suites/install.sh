# Installs packages from local files and checks what came out: install.sh {wheels|tarballs} LIST COUNT DIRECTORY PROGRAM.
#
# The first COUNT packages of LIST lie in DIRECTORY; PROGRAM is the Python interpreter or npm. No network is used.
set -eu
kind=$1 list=$2 count=$3 directory=$4 program=$5
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
head -n "$count" "$list" > "$target/wanted"
case $kind in
    wheels)
        "$program" -m pip --isolated install --quiet --no-index --no-deps --no-compile --disable-pip-version-check \
            --no-cache-dir --root-user-action=ignore --find-links "$directory" --target "$target/out" \
            -r "$target/wanted"
        ending=py
        ;;
    tarballs)
        # ms@2.1.3 lies in ms-2.1.3.tgz.
        sed "s|^|$directory/|; s|\(.*\)@|\1-|; s|\$|.tgz|" "$target/wanted" > "$target/files"
        mkdir "$target/out"
        xargs "$program" install --offline --ignore-scripts --no-audit --no-fund --no-package-lock --silent \
            --cache "$target/cache" --prefix "$target/out" < "$target/files" > "$target/said"
        ending=js
        ;;
esac
find "$target/out" -type f -name "*.$ending" | sort | xargs cat | cksum
