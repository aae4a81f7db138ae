# A tree through tar and gzip and back.
set -e
mkdir -p tree/a/b/c
for i in $(seq 1 60); do seq 1 $((i * 40)) > "tree/a/b/file$i"; ln -s "file$i" "tree/a/b/link$i"; done
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=0644 -cf - tree | gzip -9n > tree.tar.gz
cksum tree.tar.gz
gzip -dc tree.tar.gz | tar -tvf - | cksum
mkdir copy
tar -xzf tree.tar.gz -C copy --mode=0755 2>/dev/null || true
gzip -dc tree.tar.gz | head -c 200000 | gzip -c | gzip -dc | cksum
head -c 1000 tree.tar.gz | gzip -dc > /dev/null
