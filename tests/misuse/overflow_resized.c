/* Shrinks an object, writes where its old end was, and resizes it again. argv[1], argv[2]: the sizes. */
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    size_t size = (size_t)atol(argv[1]), less = (size_t)atol(argv[2]);
    char *volatile object = realloc(malloc(size), less);
    object[size - 1] = 1;
    free(realloc(object, size * 4));
    return 0;
}
