/* Handlers registered with pthread_atfork before and after the allocator's own, all of which
 * allocate and free, in prepare, in parent and in child, while another thread allocates. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int stop;
static void *kept[3];

static void use(int place) {
    free(kept[place]);
    kept[place] = malloc(40 + (size_t)place * 700);
    free(realloc(malloc(100), 100000));
    free(calloc(1, 300000));
}

static void prepare(void) { use(0); }
static void parent(void) { use(1); }
static void child(void) { use(2); use(0); }

/* Runs before main and, where constructors allow, before the allocator was first used. */
__attribute__((constructor(101))) static void early(void) { pthread_atfork(prepare, parent, child); }

static void *churn(void *unused) {
    while (!atomic_load(&stop)) free(malloc(64)), free(malloc(3000));
    return unused;
}

int main(void) {
    free(malloc(10));
    pthread_atfork(prepare, parent, child);
    pthread_t thread;
    pthread_create(&thread, NULL, churn, NULL);
    for (int n = 0; n < 300; n++) {
        pid_t pid = fork();
        if (pid == 0) {
            use(1);
            _exit(0);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        if (status) {
            printf("child %d: status %x\n", n, status);
            return 1;
        }
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    puts("handlers allocated on both sides");
    return 0;
}
