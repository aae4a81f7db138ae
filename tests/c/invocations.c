/* Runs invocations that leave garbage behind and calls memento_invocation_end after each: resident
 * memory must fall back, live objects must stay, and the statistics must be JSON of stated length. */
#define _GNU_SOURCE
#include "memento.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma weak memento_invocation_end
#pragma weak memento_stats_json

static size_t resident(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    size_t all, pages = 0;
    if (!file || fscanf(file, "%zu %zu", &all, &pages) != 2) exit(2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

int main(void) {
    if (!memento_invocation_end || !memento_stats_json) {
        puts("not preloaded");
        return 0;
    }
    char *kept = strdup("kept");
    size_t before = resident(), most = 0, after = 0;
    for (int n = 0; n < 5; n++) {
        enum { OBJECTS = 60000 };
        static void *objects[OBJECTS];
        for (int i = 0; i < OBJECTS; i++) memset(objects[i] = malloc(400), n, 400);
        for (int i = 0; i < OBJECTS; i++) free(objects[i]);
        size_t now = resident();
        if (now > most) most = now;
        memento_invocation_end();
        after = resident();
    }
    size_t length = memento_stats_json(NULL, 0);
    char *json = malloc(length + 200);
    /* The text may have grown by the length of a number or two since. */
    size_t written = memento_stats_json(json, length + 200);
    printf("kept: %s, grew: %d, fell back: %d, json: %d\n", kept, most - before > 20 << 20,
           after < before + (4 << 20),
           written == strlen(json) && json[0] == '{' && json[written - 1] == '}');
    free(json);
    free(kept);
    return 0;
}
