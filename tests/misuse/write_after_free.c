/* Writes to a freed object. argv[1]: its size, argv[2]: where, argv[3]: what happens then: "purge", or
 * "reuse": objects of its size come and go until its memory is used again. */
#include "memento.h"
#include <stdlib.h>
#include <string.h>

#pragma weak memento_invocation_end

int main(int argc, char **argv) {
    if (argc < 4) return 64;
    size_t size = (size_t)atol(argv[1]);
    char *volatile object = malloc(size);
    free(object);
    object[atol(argv[2])] = 1;
    if (!strcmp(argv[3], "purge")) {
        memento_invocation_end();
        return 0;
    }
    enum { MANY = 1000 };
    static void *volatile others[MANY];
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < MANY; i++) others[i] = malloc(size);
        for (int i = 0; i < MANY; i++) free(others[i]);
    }
    return 0;
}
