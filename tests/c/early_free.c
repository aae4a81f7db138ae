/* Frees that come before and after their thread has a heap: objects from constructors, freed in
 * threads that never allocate; objects of ended threads; frees in atexit handlers. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OBJECTS = 2000 };

static char *early[OBJECTS], *of_dead_thread[OBJECTS], *late[OBJECTS];

static size_t size(int i) { return i % 100 == 0 ? 70000 : (size_t)(i % 600) + 1; }

static void make(char **objects) {
    for (int i = 0; i < OBJECTS; i++) memset(objects[i] = malloc(size(i)), i, size(i));
}

static void check_and_free(char **objects) {
    for (int i = 0; i < OBJECTS; i++) {
        for (size_t b = 0; b < size(i); b += 97) if (objects[i][b] != (char)i) abort();
        free(objects[i]);
    }
}

static void *only_frees(void *objects) { check_and_free(objects); return NULL; }
static void *only_allocates(void *objects) { make(objects); return NULL; }

__attribute__((constructor(101))) static void construct(void) { make(early); }
static void at_exit(void) {
    check_and_free(late);
    puts("freed at exit");
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, only_frees, early);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, only_allocates, of_dead_thread);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, only_frees, of_dead_thread);
    pthread_join(thread, NULL);
    make(late);
    atexit(at_exit);
    puts("freed early");
    return 0;
}
