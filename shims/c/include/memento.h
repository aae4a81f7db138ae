/* What memento offers beyond malloc and operator new.
 *
 * A program that runs with and without the preload declares these weak and tests for null:
 *
 *     #pragma weak memento_invocation_end
 *     if (memento_invocation_end) memento_invocation_end();
 */
#ifndef MEMENTO_H
#define MEMENTO_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Call it after an invocation of a function has sent its response: gives back the memory that the
 * invocation left behind. Cheap, as the process may be frozen right after. Frees nothing that is
 * live; any thread may call it at any time. */
void memento_invocation_end(void);

/* Writes the allocator's statistics as JSON into `buffer`, at most `bytes` bytes with the final
 * zero, and returns the length of the whole text without it, like snprintf: a return of `bytes` or
 * more means that the text was cut off. `buffer` may be null if `bytes` is 0. */
size_t memento_stats_json(char *buffer, size_t bytes);

/* Who serves the interpreter's memory domains, likewise; in libmemento_python.so and libmemento_all.so:
 *
 *     {"schema": "memento.python/1",
 *      "domains": {"raw": "malloc", "mem": "memento", "obj": "memento"},
 *      "left_alone": "PYTHONMALLOC=debug", "allocations": 12345}
 *
 * "malloc": by malloc, and so by memento; "pymalloc in memento's arenas": by the interpreter's own
 * allocator, with memory from memento (MEMENTO_CONF=python_arenas:1), and "arenas" of it in use;
 * "another": the interpreter's own allocator, or something (tracemalloc, debug hooks) that was put
 * on top of whatever served before. No domains: no CPython.
 * "left_alone": why they are not memento's, if they are not. "allocations" of the mem and obj
 * domains so far: with MEMENTO_CONF=python_count:1. */
size_t memento_python_stats_json(char *buffer, size_t bytes);

/* The pages of V8's heap, of 256 KiB each, likewise; in libmemento_node.so and
 * libmemento_all.so:
 *
 *     {"schema": "memento.node/1", "heap_pages": {"used": 24, "kept": 3, "peak": 31}, "left_alone": "..."}
 *
 * "kept": free, with memory behind them; "peak": most in use at a time. No heap_pages: no V8. "left_alone": why V8's pages are not
 * memento's, if they are not. */
size_t memento_node_stats_json(char *buffer, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
