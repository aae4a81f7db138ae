/* Frees what malloc never gave. argv[1]: where it is. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Alignas(64) char in_data[256] = "data";

int main(int argc, char **argv) {
    if (argc < 2) return 64;
    _Alignas(64) char on_stack[256];
    memset(on_stack, 0, sizeof on_stack);
    char *volatile address = NULL;
    if (!strcmp(argv[1], "stack")) address = on_stack + 64;
    if (!strcmp(argv[1], "static")) address = in_data + 64;
    if (!strcmp(argv[1], "mapping"))
        address = (char *)mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
    if (!strcmp(argv[1], "low")) address = (char *)16;
    if (!strcmp(argv[1], "high")) address = (char *)-4096;
    /* An object's neighbour far enough away to be in memory that was never given out. */
    if (!strcmp(argv[1], "unused")) address = (char *)((size_t)malloc(64) & ~((size_t)0xffff)) + (64 << 20);
    free(address);
    return 0;
}
