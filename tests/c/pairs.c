/* A fixed number of malloc/free pairs of one size, for counting instructions. argv[1]: the size,
 * argv[2]: how many pairs. */
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    size_t size = (size_t)atol(argv[1]);
    for (long n = atol(argv[2]); n > 0; n--) {
        void *volatile object = malloc(size);
        free(object);
    }
    return 0;
}
