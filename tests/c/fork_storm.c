/* Forks again and again while other threads allocate and free without pause. Each child allocates,
 * frees what its parent allocated, starts a thread of its own, forks once more, and exits.
 * argv[1]: how often. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 2, INHERITED = 64 };

static atomic_int stop;

static void *churn(void *seed) {
    unsigned state = (unsigned)(size_t)seed;
    void *held[64] = {0};
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        state = state * 1664525 + 1013904223;
        void **slot = &held[state >> 26];
        free(*slot);
        size_t size = state >> 12 & 2047;
        *slot = malloc(state >> 24 == 7 ? size * 512 : size);
        if (*slot && size) *(char *)*slot = 1;
    }
    for (int i = 0; i < 64; i++) free(held[i]);
    return NULL;
}

static void *in_child(void *argument) {
    for (size_t i = 1; i < 200; i++) free(calloc(i, 8));
    return argument;
}

static int child(void **inherited, int number) {
    for (int i = 0; i < INHERITED; i++) {
        if (memcmp(inherited[i], "inherited", 10)) return 2;
        free(inherited[i]);
    }
    in_child(NULL);
    free(malloc(1 << 20));
    if (number % 16 == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, in_child, NULL) || pthread_join(thread, NULL)) return 3;
        pid_t grandchild = fork();
        if (grandchild == 0) {
            in_child(NULL);
            _exit(0);
        }
        int status;
        if (waitpid(grandchild, &status, 0) < 0 || status) return 4;
    }
    return 0;
}

int main(int argc, char **argv) {
    int forks = argc > 1 ? atoi(argv[1]) : 0;
    pthread_t threads[THREADS];
    for (size_t t = 0; t < THREADS; t++) pthread_create(&threads[t], NULL, churn, (void *)(t + 1));
    void *inherited[INHERITED];
    for (size_t i = 0; i < INHERITED; i++) strcpy(inherited[i] = malloc(10 + i * i * 3), "inherited");
    for (int n = 0; n < forks; n++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            return 1;
        }
        if (pid == 0) _exit(child(inherited, n));
        int status;
        if (waitpid(pid, &status, 0) != pid || status) {
            fprintf(stderr, "child %d: status %x\n", n, status);
            return 1;
        }
    }
    atomic_store(&stop, 1);
    for (int t = 0; t < THREADS; t++) pthread_join(threads[t], NULL);
    for (int i = 0; i < INHERITED; i++) free(inherited[i]);
    puts("all children exited");
    return 0;
}
