/* Threads that allocate, resize, align, free and hand objects to each other at random, and end and
 * start again all the while. Every object carries a pattern made from its own seed and length, which
 * whoever holds it checks before it lets go. Prints one line that depends on nothing random. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 6, GENERATIONS = 8, OPERATIONS = 4000, HELD = 300, EXCHANGE = 512 };

struct object { unsigned char *at; size_t size; unsigned seed; };

static struct object exchange[EXCHANGE];
static pthread_mutex_t exchange_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    abort();
}

static void mark(struct object *o) {
    for (size_t i = 0; i < o->size; i++) o->at[i] = (unsigned char)(o->seed + i * 7);
}

static void check(const struct object *o, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (o->at[i] != (unsigned char)(o->seed + i * 7)) fail("an object lost its contents");
}

static size_t a_size(uint64_t *state) {
    uint64_t r = next(state);
    switch (r % 64) {
    case 0: return (r >> 8) % (1 << 20);
    case 1: case 2: return (r >> 8) % 65536;
    case 3: case 4: case 5: case 6: return (r >> 8) % 4096;
    default: return (r >> 8) % 512;
    }
}

static void make(struct object *o, uint64_t *state) {
    size_t align = 8;
    o->size = a_size(state);
    o->seed = (unsigned)next(state);
    switch (next(state) % 8) {
    case 0:
        o->at = calloc(1, o->size);
        for (size_t i = 0; i < o->size; i++) if (o->at[i]) fail("calloc gave dirty memory");
        break;
    case 1:
        align = (size_t)8 << next(state) % 10;
        if (posix_memalign((void **)&o->at, align, o->size)) o->at = NULL;
        break;
    default:
        o->at = malloc(o->size);
        align = o->size >= 16 ? 16 : 8;
    }
    if (!o->at) fail("out of memory");
    if ((uintptr_t)o->at % align) fail("misaligned");
    if (malloc_usable_size(o->at) < o->size) fail("too small");
    mark(o);
}

static void drop(struct object *o) {
    check(o, o->size);
    free(o->at);
    o->at = NULL;
}

static void *work(void *argument) {
    uint64_t state = 88172645463325252u + (uintptr_t)argument * 7919;
    struct object held[HELD] = {{0}};
    for (int n = 0; n < OPERATIONS; n++) {
        struct object *o = &held[next(&state) % HELD];
        if (!o->at) {
            make(o, &state);
            continue;
        }
        switch (next(&state) % 4) {
        case 0: {
            size_t size = a_size(&state) + 1, both = size < o->size ? size : o->size;
            unsigned char *moved = realloc(o->at, size);
            if (!moved) fail("out of memory");
            o->at = moved;
            check(o, both);
            o->size = size;
            mark(o);
            break;
        }
        case 1: {
            /* Swap with what another thread left. */
            pthread_mutex_lock(&exchange_lock);
            struct object *slot = &exchange[next(&state) % EXCHANGE], other = *slot;
            *slot = *o;
            *o = other;
            pthread_mutex_unlock(&exchange_lock);
            break;
        }
        default:
            drop(o);
        }
    }
    /* Half of what is left is freed here, half by whoever finds it after this thread's end. */
    for (int i = 0; i < HELD; i++) {
        if (!held[i].at) continue;
        if (i % 2) {
            pthread_mutex_lock(&exchange_lock);
            struct object *slot = &exchange[next(&state) % EXCHANGE], other = *slot;
            *slot = held[i];
            held[i] = other;
            pthread_mutex_unlock(&exchange_lock);
        }
        if (held[i].at) drop(&held[i]);
    }
    return NULL;
}

int main(void) {
    for (uintptr_t g = 0; g < GENERATIONS; g++) {
        pthread_t threads[THREADS];
        for (uintptr_t t = 0; t < THREADS; t++)
            if (pthread_create(&threads[t], NULL, work, (void *)(g * THREADS + t))) fail("no thread");
        for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
    }
    for (int i = 0; i < EXCHANGE; i++) if (exchange[i].at) drop(&exchange[i]);
    puts("every object kept its contents");
    return 0;
}
