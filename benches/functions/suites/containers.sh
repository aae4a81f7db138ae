# Creates, starts and deletes containers with crun, one after the other: containers.sh CONFIG COUNT.
#
# Each runs a shell on the host's own programs, which answers with a checksum. Needs no root where users may make
# namespaces. In a mount namespace of its own, because crun wants one kind of control groups and hosts may have both.
set -eu
if [ "$#" = 2 ]; then
    options=-m
    [ "$(id -u)" = 0 ] || options=-Urm
    exec unshare $options sh "$0" "$1" "$2" inside
fi
if [ -d /sys/fs/cgroup/unified ]; then mount -t tmpfs none /sys/fs/cgroup/unified; fi
bundle=$(mktemp -d)
trap 'rm -rf "$bundle"' EXIT
cp "$1" "$bundle/config.json"
mkdir "$bundle/state" "$bundle/rootfs"
cd "$bundle/rootfs"
mkdir bin dev lib lib64 proc usr
seq 2000 > data
i=0
while [ "$i" -lt "$2" ]; do
    i=$((i + 1))
    crun="crun --root $bundle/state --cgroup-manager=disabled"
    # What the container writes ends when it does.
    answer=$($crun create --bundle "$bundle" "function-$i" && $crun start "function-$i") || answer=
    $crun delete --force "function-$i" 2>&1
    echo "${answer:?crun could not run a container}"
done
