"""A bash script: names of files taken apart and counted."""
print(r'''declare -A count
words=(alpha beta gamma delta epsilon zeta)
for ((i = 0; i < 12000; i++)); do
    word=${words[i % 6]}-$((i * 7919 % 512))
    count[$word]=$((count[$word] + 1))
    path="/srv/$word/${word%%-*}/file.$i.txt"
    name=${path##*/}
    name=${name%.txt}
    line="${name//./_}:${#path}"
    case $line in *99) set -- $line ${words[@]}; lines+=("$*") ;; esac
done
echo ${#count[@]} ${#lines[@]}''')
