/* Frees an object a second time after others of its size came and went. argv[1]: its size. */
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 2) return 64;
    size_t size = (size_t)atol(argv[1]);
    void *volatile object = malloc(size), *volatile others[8];
    for (int i = 0; i < 8; i++) others[i] = malloc(size);
    free(object);
    for (int i = 0; i < 8; i++) free(others[i]);
    free(object);
    return 0;
}
