# Optimising compilers on real sources: C, and C++ with heavy headers. $1: the sources' directory.
set -e
cp "$1/c/thread_end.c" "$1/c/conformance.c" "$1/cxx/operators.cpp" .
gcc -O2 -g "-fdebug-prefix-map=$PWD=." -c thread_end.c -o thread_end.o
gcc -O3 -fno-builtin -c conformance.c -o conformance.o
g++ -std=c++17 -O2 -c operators.cpp -o operators.o
cksum thread_end.o conformance.o operators.o
gcc -O2 -pthread thread_end.o -o stress
./stress
echo 'int main(void) { return undeclared; }' > wrong.c
gcc -O2 -c wrong.c
