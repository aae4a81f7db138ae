/* Answers that only newer versions of glibc give. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#pragma weak free_sized
#pragma weak free_aligned_sized
#pragma weak cfree
void free_sized(void *, size_t);
void free_aligned_sized(void *, size_t, size_t);
void cfree(void *);

int main(void) {
    static const size_t bad[] = {0, 3, 24};
    for (size_t i = 0; i < 3; i++) {
        errno = 0;
        void *p = aligned_alloc(bad[i], 8);
        printf("aligned_alloc(%zu): %s, errno %d\n", bad[i], p ? "object" : "null", errno);
    }
    if (!free_sized || !free_aligned_sized || !cfree) return 1;
    for (size_t size = 0; size < 700000; size = size * 9 / 8 + 1) {
        free_sized(malloc(size), size);
        free_sized(calloc(size, 1), size);
        /* Shrunk and grown objects are freed by their last size, wherever they are kept. */
        char *p = realloc(malloc(size * 2 + 1), size + 1);
        memset(p, 1, size + 1);
        free_sized(p, size + 1);
        p = realloc(malloc(size + 1), size * 3 + 1);
        memset(p, 2, size * 3 + 1);
        free_sized(p, size * 3 + 1);
        for (size_t align = 8; align <= 8192; align *= 4)
            free_aligned_sized(memset(aligned_alloc(align, size), 3, size), align, size);
    }
    free_sized(NULL, 10);
    free_aligned_sized(NULL, 16, 10);
    puts("sized frees: done");
    cfree(malloc(10));
    cfree(NULL);
    puts("cfree: done");
    return 0;
}
