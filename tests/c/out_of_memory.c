/* Run under a limit of address space or of data: takes memory until there is none, in small, medium
 * and large pieces (argv: their sizes): null and ENOMEM each time, and the program goes on as if nothing had
 * happened once it is freed. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct link { struct link *next; };

static int exhaust(size_t size) {
    struct link *all = NULL, *one;
    size_t count = 0;
    errno = 0;
    while ((one = malloc(size)) && count < ((size_t)1 << 30) / size) {
        memset(one, 0x5a, size);
        one->next = all;
        all = one;
        count++;
    }
    int error = errno, ended = !one;
    free(one);
    /* What is there must still work, and calloc must say the same. */
    void *zeroed = ended ? calloc(1, (size_t)1 << 32) : NULL;
    int calloc_error = errno;
    while (all) {
        one = all->next;
        free(all);
        all = one;
    }
    printf("%zu bytes a piece: %s, errno %d; calloc %s, errno %d\n", size, ended ? "null in the end" : "no end",
           error, zeroed ? "object" : "null", calloc_error);
    void *again = malloc(size);
    int works = again != NULL;
    free(again);
    return ended && works && count > 0;
}

int main(int argc, char **argv) {
    /* stdio makes its buffer now. */
    puts("begin");
    int good = 1;
    for (int i = 1; i < argc; i++) good &= exhaust((size_t)atol(argv[i]));
    puts(good ? "served again after each" : "broken after one");
    return 0;
}
