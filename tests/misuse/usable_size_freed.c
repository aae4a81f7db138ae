/* Asks for the size of a freed object. argv[1]: its size. */
#include <malloc.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 2) return 64;
    void *volatile object = malloc((size_t)atol(argv[1]));
    free(object);
    return malloc_usable_size(object) != 0;
}
