/* Resizes an object that was just freed. argv[1]: its size. */
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 2) return 64;
    size_t size = (size_t)atol(argv[1]);
    void *volatile object = malloc(size);
    free(object);
    free(realloc(object, size * 4));
    return 0;
}
