/* Frees an object twice in a row. argv[1]: its size. */
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 2) return 64;
    void *volatile object = malloc((size_t)atol(argv[1]));
    free(object);
    free(object);
    return 0;
}
