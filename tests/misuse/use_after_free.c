/* Reads a freed object and says what it found. argv[1]: its size. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc < 2) return 64;
    size_t size = (size_t)atol(argv[1]);
    char *volatile object = malloc(size);
    memset(object, 'x', size);
    free(object);
    int left = 0;
    for (size_t i = 0; i < size; i++) left += object[i] != 0;
    printf("%d bytes of it were left\n", left);
    return 0;
}
