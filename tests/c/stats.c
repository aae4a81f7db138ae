/* Holds some memory and asks for malloc_stats. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    void *volatile small = malloc(100);
    char *large = malloc(5 << 20);
    memset(large, 1, 5 << 20);
    malloc_stats();
    free(small);
    free(large);
    return 0;
}
