/* Calls operator new in a program that has no C++ library, with more than there is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

int main(void) {
    void *(*operator_new)(size_t) = (void *(*)(size_t))dlsym(RTLD_DEFAULT, "_Znwm");
    void *(*nothrow)(size_t, const void *) = (void *(*)(size_t, const void *))dlsym(RTLD_DEFAULT, "_ZnwmRKSt9nothrow_t");
    if (!operator_new || !nothrow) return 64;
    free(operator_new(100));
    if (nothrow((size_t)1 << 62, "")) return 65;
    operator_new((size_t)1 << 62);
    return 0;
}
