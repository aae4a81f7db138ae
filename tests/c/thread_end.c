/* Destructors of thread-specific data that allocate, free what other threads allocated, and set
 * their key again, so that they run until the library gives up; in threads that did and that did
 * not allocate before. */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 200, KEYS = 5 };

static pthread_key_t keys[KEYS];
static atomic_int runs;
static _Atomic(void *) passed_on;

static void at_end(void *value) {
    char *mine = value;
    if (strncmp(mine, "value", 5)) abort();
    int round = mine[5] - '0', key = mine[6] - '0';
    free(mine);
    free(atomic_exchange(&passed_on, malloc((size_t)round * 100 + 1)));
    free(realloc(calloc(3, 50), 5000));
    atomic_fetch_add(&runs, 1);
    if (round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS) {
        char *again = malloc(8);
        memcpy(again, "value", 5);
        again[5] = (char)('0' + round + 1);
        again[6] = (char)('0' + key);
        pthread_setspecific(keys[key], again);
    }
}

static void *run(void *first) {
    for (int k = 0; k < KEYS; k++) {
        /* Every other thread never allocates before its destructors do. */
        char *value = first ? first : malloc(8);
        if (first && k) break;
        memcpy(value, "value0", 6);
        value[6] = (char)('0' + k);
        pthread_setspecific(keys[k], value);
    }
    return NULL;
}

int main(void) {
    for (int k = 0; k < KEYS; k++) pthread_key_create(&keys[k], at_end);
    for (int t = 0; t < THREADS; t++) {
        pthread_t thread;
        pthread_create(&thread, NULL, run, t % 2 ? malloc(8) : NULL);
        pthread_join(thread, NULL);
    }
    free(atomic_exchange(&passed_on, NULL));
    int want = (THREADS / 2 * KEYS + THREADS / 2) * PTHREAD_DESTRUCTOR_ITERATIONS;
    printf("destructors ran %s\n", atomic_load(&runs) == want ? "as often as they should" : "a wrong number of times");
    return 0;
}
