# Subshells, pipes, process substitution, here-documents, arrays, traps, background jobs.
set -u
shout() { echo "$1" | (read -r line; (echo "sub $line" | tr a-z A-Z)); }
for i in $(seq 1 40); do shout "line $i"; done | sort -r | uniq -c | (tail -n 5; echo piped)
declare -A table
for word in $(seq 1 500); do table["key$word"]="value-$((word * word))"; done
echo "${#table[@]} entries, ${table[key77]}"
text=""
for i in $(seq 1 300); do text+="chunk $i "; done
echo "${#text} ${text//chunk/piece}" | cksum
diff <(seq 1 10) <(seq 1 2 10) || echo "differs: $?"
cat <<END
here $(echo nested $(echo deeper))
END
(exit 3); echo "subshell: $?"
for i in 1 2 3; do (sleep 0; exit "$i") & done
for i in 1 2 3; do wait -n; done; echo "waited"
eval "$(printf 'v%d=%d; ' $(seq 1 20))"; echo "$((v1 + v20))"
kill -TERM $BASHPID & wait $!; echo "signal: $?"
false | true | (exit 4); echo "${PIPESTATUS[@]}"
trap 'echo leaving' EXIT
exit 7
