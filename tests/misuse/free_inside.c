/* Frees an address inside an object. argv[1]: the object's size, argv[2]: how far inside. */
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    char *volatile object = malloc((size_t)atol(argv[1]));
    free(object + atol(argv[2]));
    return 0;
}
