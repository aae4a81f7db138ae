/* One thread allocates, another frees, for long: what is freed remotely must come back to its
 * owner, or memory grows without bound. Prints the resident set's growth after a warm-up. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 2000, WARM_UP = 50, ROUNDS = 1000 };

static void *batch[2][BATCH];
static sem_t full, empty;

static size_t resident(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    size_t all, pages = 0;
    if (!file || fscanf(file, "%zu %zu", &all, &pages) != 2) exit(2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void *consume(void *unused) {
    for (int round = 0; round < ROUNDS; round++) {
        sem_wait(&full);
        for (int i = 0; i < BATCH; i++) free(batch[round % 2][i]);
        sem_post(&empty);
    }
    return unused;
}

int main(void) {
    sem_init(&full, 0, 0);
    sem_init(&empty, 0, 2);
    pthread_t thread;
    pthread_create(&thread, NULL, consume, NULL);
    size_t warm = 0;
    for (int round = 0; round < ROUNDS; round++) {
        sem_wait(&empty);
        for (int i = 0; i < BATCH; i++) {
            size_t size = i % 50 == 0 ? 3000 : (size_t)(i * 7 % 500) + 1;
            memset(batch[round % 2][i] = malloc(size), round, size);
        }
        sem_post(&full);
        if (round == WARM_UP) warm = resident();
    }
    pthread_join(thread, NULL);
    size_t end = resident();
    /* Together the rounds allocate about 600 MB; two batches are about 1.2 MB. */
    printf("%zu\n", end > warm ? end - warm : 0);
    return 0;
}
