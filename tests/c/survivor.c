/* Allocates, resizes and frees while refusing_kernel.c refuses memory: each answer is null with
 * ENOMEM or good memory, what it holds keeps its contents, and freeing never fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma weak refuse
#pragma weak refused
extern int refuse;
extern long refused;

enum { HELD = 3000 };

static unsigned char *held[HELD];
static size_t sizes[HELD];
static long nulls;

static void check(int i) {
    for (size_t b = 0; b < sizes[i]; b++)
        if (held[i][b] != (unsigned char)(i + b)) {
            puts("lost contents");
            exit(1);
        }
}

static void mark(int i) {
    for (size_t b = 0; b < sizes[i]; b++) held[i][b] = (unsigned char)(i + b);
}

static void *answered(void *p) {
    if (!p) {
        nulls++;
        if (errno != ENOMEM) {
            printf("errno %d\n", errno);
            exit(1);
        }
    }
    errno = 0;
    return p;
}

static size_t a_size(unsigned *state) {
    *state = *state * 1664525 + 1013904223;
    unsigned kind = *state >> 28, r = *state >> 8 & 0xfffff;
    return kind == 0 ? r : kind < 4 ? r % 40000 : r % 600;
}

static void round_of(unsigned *state, int operations) {
    for (int n = 0; n < operations; n++) {
        size_t size = a_size(state) + 1;
        int i = (int)(*state >> 4) % HELD;
        if (i < 0) i = -i;
        if (!held[i]) {
            held[i] = answered(n % 5 ? malloc(size) : calloc(1, size));
            if (!held[i]) continue;
            sizes[i] = size;
            mark(i);
        } else if (*state >> 16 & 1) {
            check(i);
            unsigned char *moved = answered(realloc(held[i], size));
            if (!moved) {
                check(i);
                continue;
            }
            held[i] = moved;
            if (size < sizes[i]) sizes[i] = size;
            check(i);
            sizes[i] = size;
            mark(i);
        } else {
            check(i);
            int before = errno = 77;
            free(held[i]);
            if (errno != before) puts("free changed errno");
            errno = 0;
            held[i] = NULL;
        }
    }
}

int main(void) {
    if (!&refuse) return 64;
    setvbuf(stdout, NULL, _IONBF, 0);
    unsigned state = 42;
    round_of(&state, 2000);
    refuse = 1;
    round_of(&state, 60000);
    refuse = 0;
    long before = nulls;
    round_of(&state, 20000);
    if (nulls != before) puts("still out of memory");
    for (int i = 0; i < HELD; i++) {
        if (held[i]) check(i);
        free(held[i]);
    }
    if (!refused) puts("nothing was refused");
    puts("null and ENOMEM or good memory; kept contents");
    return 0;
}
