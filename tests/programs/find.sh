# A tree walked, filtered, executed upon and deleted from.
set -e
for i in $(seq 1 40); do mkdir -p "tree/d$((i % 6))/e$((i % 11))"; seq 1 "$i" > "tree/d$((i % 6))/e$((i % 11))/f$i.txt"; done
find tree -type f -name '*.txt' -printf '%P %s\n' | sort
find tree -type f -size -20c -exec cksum {} + | sort
find tree -regex '.*/e[0-4]/f.*' -print0 | sort -z | xargs -0 -n 5 cat | cksum
find tree -name 'f1*' -delete
find tree -depth -type d -empty | sort
find tree/nothing
