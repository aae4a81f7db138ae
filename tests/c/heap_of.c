/* A heap of as many MiB of small objects as the argument says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    const size_t size = 1000;
    size_t objects = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1) * 1024 * 1024 / size;
    for (size_t i = 0; i < objects; i++) {
        char *object = malloc(size);
        if (!object) return 1;
        memset(object, 'x', size);
    }
    puts("grown");
    return 0;
}
