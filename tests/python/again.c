/* A program that embeds CPython, and starts it again after its end. Linked with a shared libpython, and
 * declared by hand, so that it needs no headers. */
#include <stdio.h>

void Py_Initialize(void);
int Py_FinalizeEx(void);
int PyRun_SimpleStringFlags(const char *code, void *flags);
void *PyMem_Malloc(size_t size);
void PyMem_Free(void *block);
void *PyMem_RawMalloc(size_t size);
void PyMem_RawFree(void *block);

int main(void)
{
    for (int round = 0; round < 4; round++) {
        Py_Initialize();
        if (PyRun_SimpleStringFlags(
                "import json, re, sys, threading, warnings\n"
                "kept = [json.dumps({'n': n, 'text': 'x' * (n % 90)}) for n in range(5000)]\n"
                "thread = threading.Thread(target=lambda: kept.extend(map(str, range(5000))))\n"
                "thread.start(); thread.join()\n"
                "print(len(kept), sum(map(len, kept)), flush=True)\n", NULL))
            return 1;
        for (int n = 0; n < 100; n++) {
            PyMem_Free(PyMem_Malloc(n * 13));
            PyMem_RawFree(PyMem_RawMalloc(n * 13));
        }
        printf("%d\n", Py_FinalizeEx());
        fflush(stdout);
    }
    return 0;
}
