# A repository made from nothing, cloned, packed and checked; every identifier is fixed.
set -e
export HOME="$PWD" GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@d
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
git init -q -b main origin
cd origin
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    mkdir -p "dir$((i % 4))"
    seq 1 $((i * 150)) > "dir$((i % 4))/file$i"
    seq "$i" 3000 >> all
    git add .
    git commit -q -m "commit $i"
done
git checkout -q -b side HEAD~4
echo side > side; git add side; git commit -q -m side
git checkout -q main; git merge -q --no-edit side
cd ..
git clone -q "file://$PWD/origin" copy
cd copy
git gc -q --aggressive
git fsck --strict
git log --format='%H %s' --stat | cksum
git diff HEAD~3 HEAD | cksum
git blame dir1/file9 | cksum
git grep -c 77 | sort
git rev-parse HEAD
git cat-file blob HEAD:nothing
