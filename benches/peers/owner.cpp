// Says whether the shared object that the first argument names serves this process: whether its
// functions are the ones that calls reach, and whether small, large, aligned and C++ objects of several
// threads can be used and freed.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <string>
#include <sys/stat.h>
#include <thread>
#include <vector>

static bool is_same_file(const char *a, const char *b) {
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static bool comes_from(const char *file, const char *symbol) {
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, symbol);
    if (address != nullptr && dladdr(address, &info) != 0 && is_same_file(info.dli_fname, file)) {
        return true;
    }
    std::fprintf(stderr, "%s is not served by %s\n", symbol, file);
    return false;
}

static void use() {
    std::vector<std::string> strings;
    for (int i = 0; i < 20000; i++) {
        strings.push_back(std::string(static_cast<size_t>(i % 700), 'x'));
        if (i % 3 == 0) strings[static_cast<size_t>(i / 2)].append(4000, 'y');
    }
    for (size_t size = 1; size < (64u << 20); size *= 3) {
        char *object = static_cast<char *>(std::malloc(size));
        if (object == nullptr) std::abort();
        std::memset(object, 1, size);
        object = static_cast<char *>(std::realloc(object, size + size / 2 + 1));
        if (object == nullptr || object[size - 1] != 1) std::abort();
        std::free(object);
        void *aligned = nullptr;
        if (posix_memalign(&aligned, 256, size) != 0) std::abort();
        std::free(aligned);
    }
    for (int i = 0; i < 1000; i++) delete new long(i);
}

int main(int count, char **words) {
    if (count != 2) return 2;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) threads.emplace_back(use);
    for (auto &thread : threads) thread.join();
    bool good = true;
    for (const char *symbol : {"malloc", "free", "calloc", "realloc", "posix_memalign"}) {
        good = comes_from(words[1], symbol) && good;
    }
    return good ? 0 : 1;
}
