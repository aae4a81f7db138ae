/* What the Python shim looks for in an interpreter, without one: built as several kinds of CPython.
 *
 *   (plain)            3.8 or newer, as it starts: one allocator for both domains
 *   -DFREE_THREADED    has what only free-threaded builds have
 *   -DOLD              has not what came with 3.8
 *   -DDEBUG_BUILD      starts with checks in the domains
 *
 * Prints who serves the domains when main runs. With the argument "before", blocks that the
 * interpreter's own allocator handed out before are resized and freed through the domain. */
#include <memento.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
} allocator;

/* Its own allocator hands out pieces of an array, which no free() would take. */
static char arena[1 << 20];
static size_t used;
static int freed;

static void *own_malloc(void *context, size_t size)
{
    (void)context;
    char *block = arena + used;
    used += (size + 31) & ~(size_t)15;
    return block;
}
static void *own_calloc(void *context, size_t n, size_t size) { return own_malloc(context, n * size); }
static void *own_realloc(void *context, void *block, size_t size)
{
    char *moved = own_malloc(context, size);
    memcpy(moved, block, size);
    return moved;
}
static void own_free(void *context, void *block)
{
    (void)context;
    if ((char *)block < arena || (char *)block >= arena + sizeof arena)
        abort();
    freed++;
}

#ifdef DEBUG_BUILD
#define CONTEXT arena
#else
#define CONTEXT NULL
#endif
#define OWN {CONTEXT, own_malloc, own_calloc, own_realloc, own_free}
static allocator domains[3] = {OWN, OWN, OWN};

__attribute__((visibility("default"))) void PyMem_SetAllocator(int domain, allocator *with)
{
    domains[domain] = *with;
}
__attribute__((visibility("default"))) void PyMem_GetAllocator(int domain, allocator *into)
{
    *into = domains[domain];
}
#ifndef OLD
__attribute__((visibility("default"))) void Py_BytesMain(void) {}
#endif
#ifdef FREE_THREADED
__attribute__((visibility("default"))) void _Py_DecRefShared(void) {}
#endif

#pragma weak memento_python_stats_json

static void before(void)
{
    for (int domain = 1; domain < 3; domain++) {
        allocator *with = &domains[domain];
        char *old = own_malloc(NULL, 100), *new = with->malloc(with->context, 100);
        strcpy(old, "from before");
        strcpy(new, "from memento");
        old = with->realloc(with->context, old, 50);
        new = with->realloc(with->context, new, 5000);
        printf("%s %s\n", old, new);
        with->free(with->context, old);
        with->free(with->context, new);
        with->free(with->context, NULL);
        /* Without a domain between them: one family. */
        with->free(with->context, malloc(100));
        free(with->malloc(with->context, 100));
        free(with->malloc(with->context, 1000000));
    }
    printf("%d\n", freed);
}

int main(int argc, char **argv)
{
    char text[1000] = "none";
    if (memento_python_stats_json)
        memento_python_stats_json(text, sizeof text);
    puts(text);
    if (argc > 1 && !strcmp(argv[1], "before"))
        before();
    return 0;
}
