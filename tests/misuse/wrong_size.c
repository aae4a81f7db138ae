/* Frees an object with a size that is not its own. argv[1]: its size, argv[2]: the other. */
#include <stdlib.h>

extern void free_sized(void *object, size_t size) __attribute__((weak));

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    free_sized(malloc((size_t)atol(argv[1])), (size_t)atol(argv[2]));
    return 0;
}
