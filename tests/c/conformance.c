/* Prints what the C library's allocator answers where the standards or glibc fix the answer. Every
 * allocator under test must print the same lines as glibc. Addresses and sizes never appear. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Keeps the compiler from knowing a value, and so from leaving out or warning about a call. */
static volatile size_t hidden;
static size_t opaque(size_t value) { hidden = value; return hidden; }

static const char *nullness(const void *p) { return p ? "object" : "null"; }

static void say(const char *what, void *p) {
    int error = errno;
    printf("%s: %s, errno %d\n", what, nullness(p), error);
    errno = 0;
}

static int zero(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++) if (p[i]) return 0;
    return 1;
}

static void fill(unsigned char *p, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) p[i] = (unsigned char)(seed + i * 31);
}

static int filled(const unsigned char *p, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) if (p[i] != (unsigned char)(seed + i * 31)) return 0;
    return 1;
}

static const size_t sizes[] = {
    1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 100, 128, 200, 256, 300, 500, 511, 512, 513,
    600, 1000, 1024, 1025, 2000, 4000, 4095, 4096, 4097, 10000, 16384, 32768, 40000, 65536, 100000,
    131072, 200000, 262143, 262144, 262145, 500000, 1 << 20, (1 << 20) + 1, 3 << 20, 10 << 20,
};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void zero_sizes(void) {
    void *a = malloc(opaque(0)), *b = malloc(opaque(0));
    printf("malloc(0) twice: %s, %s, %s\n", nullness(a), nullness(b), a != b ? "distinct" : "same");
    free(a);
    free(b);
    void *c = calloc(opaque(0), 8), *d = calloc(8, opaque(0));
    printf("calloc of nothing: %s, %s\n", nullness(c), nullness(d));
    free(c);
    free(d);
    errno = 0;
    say("realloc(null, 0)", a = realloc(NULL, opaque(0)));
    free(a);
    say("realloc(p, 0)", realloc(malloc(24), opaque(0)));
    say("realloc(large, 0)", realloc(malloc(1 << 20), opaque(0)));
    say("reallocarray(p, 0, 8)", reallocarray(malloc(24), opaque(0), 8));
    void *p = (void *)-1;
    int r = posix_memalign(&p, 64, opaque(0));
    printf("posix_memalign of nothing: %d %s\n", r, nullness(p));
    free(p);
    free(NULL);
    printf("usable size of null: %zu\n", malloc_usable_size(NULL));
}

static void too_much(void) {
    unsigned char *kept = malloc(100);
    fill(kept, 100, 5);
    errno = 0;
    say("malloc(SIZE_MAX)", malloc(opaque(SIZE_MAX)));
    say("malloc(PTRDIFF_MAX + 1)", malloc(opaque((size_t)PTRDIFF_MAX + 1)));
    say("malloc(PTRDIFF_MAX)", malloc(opaque(PTRDIFF_MAX)));
    say("malloc(SIZE_MAX - 15)", malloc(opaque(SIZE_MAX - 15)));
    say("malloc(1 << 62)", malloc(opaque((size_t)1 << 62)));
    say("calloc(SIZE_MAX / 2, 3)", calloc(opaque(SIZE_MAX / 2), 3));
    say("calloc(SIZE_MAX, SIZE_MAX)", calloc(opaque(SIZE_MAX), opaque(SIZE_MAX)));
    say("calloc(1 << 32, 1 << 32)", calloc(opaque((size_t)1 << 32), opaque((size_t)1 << 32)));
    say("realloc(p, SIZE_MAX)", realloc(kept, opaque(SIZE_MAX)));
    say("realloc(p, 1 << 62)", realloc(kept, opaque((size_t)1 << 62)));
    say("reallocarray overflow", reallocarray(kept, opaque(SIZE_MAX / 4), 8));
    say("memalign(64, SIZE_MAX)", memalign(64, opaque(SIZE_MAX)));
    say("memalign(64, SIZE_MAX - 64)", memalign(64, opaque(SIZE_MAX - 64)));
    say("memalign(1 << 62, 8)", memalign(opaque((size_t)1 << 62), 8));
    say("memalign(1 << 63, 1)", memalign(opaque((size_t)1 << 63), 1));
    say("memalign(SIZE_MAX, 8)", memalign(opaque(SIZE_MAX), 8));
    say("aligned_alloc(64, SIZE_MAX)", aligned_alloc(64, opaque(SIZE_MAX)));
    say("valloc(SIZE_MAX)", valloc(opaque(SIZE_MAX)));
    say("pvalloc(SIZE_MAX)", pvalloc(opaque(SIZE_MAX)));
    void *p = kept;
    int r = posix_memalign(&p, 64, opaque(SIZE_MAX));
    printf("posix_memalign of SIZE_MAX: %d, %s\n", r, p == kept ? "untouched" : "written");
    r = posix_memalign(&p, opaque((size_t)1 << 62), 8);
    printf("posix_memalign to 1 << 62: %d, %s\n", r, p == kept ? "untouched" : "written");
    printf("after all that the old object is %s\n", filled(kept, 100, 5) ? "intact" : "damaged");
    free(kept);
}

static void alignments(void) {
    static const size_t bad[] = {0, 1, 2, 4, 3, 12, 24, 100, SIZE_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        void *p = NULL;
        errno = 0;
        int r = posix_memalign(&p, opaque(bad[i]), 8);
        printf("posix_memalign to %zu: %d %s errno %d\n", bad[i], r, nullness(p), errno);
        free(p);
    }
    for (size_t align = 8; align <= (size_t)4 << 20; align *= 2)
        for (size_t i = 0; i < SIZES; i += 5) {
            void *p = NULL;
            int r = posix_memalign(&p, align, sizes[i]);
            void *q = memalign(align, sizes[i]), *s = aligned_alloc(align, sizes[i]);
            int ok = !r && p && q && s && (uintptr_t)p % align == 0 && (uintptr_t)q % align == 0 &&
                     (uintptr_t)s % align == 0 && malloc_usable_size(p) >= sizes[i];
            if (ok) {
                memset(p, 1, sizes[i]);
                memset(q, 2, sizes[i]);
                memset(s, 3, sizes[i]);
                q = realloc(q, sizes[i] + 1000);
                ok = q && ((char *)q)[sizes[i] - 1] == 2;
            }
            if (!ok) printf("alignment %zu of %zu bytes: wrong\n", align, sizes[i]);
            free(p);
            free(q);
            free(s);
        }
    void *p = memalign(24, 100);
    printf("memalign(24) is rounded up to %s\n", (uintptr_t)p % 32 == 0 ? "32" : "less");
    free(p);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *v = valloc(10), *w = pvalloc(10);
    printf("valloc: %d, pvalloc: %d, whole pages: %d\n", (uintptr_t)v % page == 0,
           (uintptr_t)w % page == 0, malloc_usable_size(w) >= page);
    free(v);
    free(w);
}

static void every_size(void) {
    for (size_t i = 0; i < SIZES; i++) {
        size_t n = sizes[i];
        unsigned char *p = malloc(n), *q = calloc(1, n), *r = calloc(n, 1);
        int aligned = (uintptr_t)p % (n >= 16 ? 16 : 8) == 0 && (uintptr_t)q % (n >= 16 ? 16 : 8) == 0;
        fill(p, malloc_usable_size(p), 3);
        int ok = aligned && malloc_usable_size(p) >= n && zero(q, n) && zero(r, n) &&
                 filled(p, malloc_usable_size(p), 3);
        /* Dirty memory must come back clean. */
        memset(q, 0xff, malloc_usable_size(q));
        free(q);
        q = calloc(1, n);
        ok = ok && zero(q, n);
        printf("%zu bytes: %s\n", n, ok ? "good" : "wrong");
        free(p);
        free(q);
        free(r);
    }
}

static void every_resize(void) {
    int good = 1;
    for (size_t i = 0; i < SIZES; i++)
        for (size_t j = 0; j < SIZES; j++) {
            size_t n = sizes[i], m = sizes[j], both = n < m ? n : m;
            unsigned char *p = malloc(n), *wall = malloc(n);
            fill(p, n, (unsigned)i);
            fill(wall, n, 77);
            p = realloc(p, m);
            if (!p || !filled(p, both, (unsigned)i) || (uintptr_t)p % (m >= 16 ? 16 : 8) ||
                malloc_usable_size(p) < m || !filled(wall, n, 77)) {
                printf("realloc from %zu to %zu: wrong\n", n, m);
                good = 0;
            }
            memset(p, 0xee, m);
            if (!filled(wall, n, 77)) {
                printf("realloc from %zu to %zu: overlaps\n", n, m);
                good = 0;
            }
            free(p);
            free(wall);
        }
    printf("realloc between all sizes: %s\n", good ? "good" : "wrong");
    size_t n = 1;
    unsigned char *p = malloc(n);
    p[0] = 9;
    while (n < (size_t)32 << 20) {
        p = realloc(p, n * 3 / 2 + 1);
        memset(p + n, 9, n * 3 / 2 + 1 - n);
        n = n * 3 / 2 + 1;
    }
    while (n > 1) {
        n /= 3;
        p = realloc(p, n ? n : 1);
        if (p[n ? n - 1 : 0] != 9) good = 0;
    }
    printf("growing and shrinking: %s\n", good ? "good" : "wrong");
    free(p);
}

static void errno_is_kept(void) {
    for (size_t i = 0; i < SIZES; i++) {
        void *p = malloc(sizes[i]), *q = malloc(sizes[i]);
        errno = 12345;
        free(p);
        free(q);
        if (errno != 12345) printf("free of %zu bytes changed errno\n", sizes[i]);
    }
    printf("errno kept\n");
}

static void controls(void) {
    printf("mallopt: %d\n", mallopt(M_MMAP_THRESHOLD, 1 << 20));
    struct mallinfo2 info = mallinfo2();
    void *p = malloc(1000), *q = malloc(4 << 20);
    struct mallinfo2 more = mallinfo2();
    printf("mallinfo2 counts use: %d\n", more.uordblks + more.hblkhd >= info.uordblks + info.hblkhd + (4 << 20));
    free(p);
    free(q);
    int r = malloc_trim(0);
    printf("malloc_trim: %d\n", r == 0 || r == 1);
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    r = malloc_info(0, stream);
    fclose(stream);
    printf("malloc_info: %d, %d\n", r, strncmp(text, "<malloc", 7) == 0 && strstr(text, "</malloc>") != NULL);
    free(text);
}

int main(void) {
    zero_sizes();
    too_much();
    alignments();
    every_size();
    every_resize();
    errno_is_kept();
    controls();
    return 0;
}
