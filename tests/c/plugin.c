/* Loaded by dlopen.c. */
#include <stdlib.h>
#include <string.h>

static char *made_at_load;

__attribute__((constructor)) static void load(void) { strcpy(made_at_load = malloc(32), "made at load"); }
__attribute__((destructor)) static void unload(void) { free(made_at_load); }

char *plugin_take(char *theirs) {
    free(theirs);
    return strdup(made_at_load);
}
