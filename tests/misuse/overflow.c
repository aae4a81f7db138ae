/* Writes behind the end of an object and frees it. argv[1]: its size, argv[2]: how far behind (0 is the
 * first byte), argv[3]: the byte. */
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 4) return 64;
    size_t size = (size_t)atol(argv[1]);
    char *volatile object = malloc(size);
    object[size + (size_t)atol(argv[2])] = (char)atoi(argv[3]);
    free(object);
    return 0;
}
