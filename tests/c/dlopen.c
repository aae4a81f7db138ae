/* dlopen, dlsym, dlerror and dlclose, which allocate and free inside the loader; from several
 * threads, with objects that cross the border both ways; argv[1] is the plugin. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *path;

static void *use(void *unused) {
    for (int n = 0; n < 100; n++) {
        void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!plugin) {
            puts(dlerror());
            exit(1);
        }
        char *(*take)(char *) = (char *(*)(char *))dlsym(plugin, "plugin_take");
        char *answer = take(strdup("ours"));
        if (strcmp(answer, "made at load")) exit(2);
        free(answer);
        if (dlsym(plugin, "no_such_symbol") || !dlerror()) exit(3);
        if (dlopen("/nowhere/at-all.so", RTLD_NOW) || !dlerror()) exit(4);
        void *next = dlsym(RTLD_NEXT, "malloc");
        if (!next) exit(5);
        dlclose(plugin);
    }
    return unused;
}

int main(int argc, char **argv) {
    if (argc < 2) return 64;
    path = argv[1];
    pthread_t threads[3];
    for (int t = 0; t < 3; t++) pthread_create(&threads[t], NULL, use, NULL);
    for (int t = 0; t < 3; t++) pthread_join(threads[t], NULL);
    use(NULL);
    puts("loaded and unloaded");
    return 0;
}
