# Sorts in memory, in parallel, through temporary files, and a merge.
set -e
export LC_ALL=C
awk 'BEGIN { for (i = 0; i < 120000; i++) { x = (x * 69069 + 12345) % 4294967296; print x, i % 1000, "word" x % 5003 } }' > input
sort input | cksum
sort -n -k2,2 -k1,1 input | cksum
sort -S 1M --parallel=2 -T . -k3 input > sorted
cksum sorted
sort -u -k2,2n input | tail -n 3
sort -m sorted sorted | uniq -c | tail -n 1
sort -c input
