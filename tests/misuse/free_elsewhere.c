/* A thread frees another's object; then the other does. argv[1]: its size, argv[2]: where in it the
 * thread's free points. */
#include <pthread.h>
#include <stdlib.h>

static void *elsewhere(void *object) {
    free(object);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    char *volatile object = malloc((size_t)atol(argv[1]));
    pthread_t thread;
    if (pthread_create(&thread, NULL, elsewhere, object + atol(argv[2]))) return 65;
    pthread_join(thread, NULL);
    free(object);
    return 0;
}
