/* Preloaded behind the allocator: refuses memory when `refuse` is set. Which calls fail is chosen
 * by the variable REFUSE: "all", "reservations" (mmap, mremap), "commits" (mprotect, and mmap of
 * writable memory), "third" (every third of all). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int refuse;
long refused;
static long calls;

static int refusing(int is_reservation, int is_commit) {
    const char *mode = refuse ? getenv("REFUSE") : NULL;
    int yes = mode && (!strcmp(mode, "all") || (!strcmp(mode, "reservations") && is_reservation) ||
                       (!strcmp(mode, "commits") && is_commit) || (!strcmp(mode, "third") && ++calls % 3 == 0));
    refused += yes;
    if (yes) errno = ENOMEM;
    return yes;
}

void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset) {
    if (file < 0 && refusing(1, protection & PROT_WRITE)) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, file, offset);
}

void *mremap(void *at, size_t bytes, size_t new_bytes, int flags, ...) {
    if (new_bytes > bytes && refusing(1, 1)) return MAP_FAILED;
    va_list rest;
    va_start(rest, flags);
    void *to = va_arg(rest, void *);
    va_end(rest);
    return (void *)syscall(SYS_mremap, at, bytes, new_bytes, flags, to);
}

int mprotect(void *at, size_t bytes, int protection) {
    if (protection & PROT_WRITE && refusing(0, 1)) return -1;
    return (int)syscall(SYS_mprotect, at, bytes, protection);
}
