// A program that replaces the plain `operator new` and `operator delete` and nothing else. C++ defines
// the other forms by these two, so every object passes through them, whichever form asked for it.
// The program relies on the sized forms that it does not define: that is what is tested.
#pragma GCC diagnostic ignored "-Wsized-deallocation"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

static long live;
static long seen;

// What the program keeps before each object: a plain `free` of the object would be found out.
constexpr std::size_t header = 64;

void *operator new(std::size_t size) {
    void *block = std::malloc(size + header);
    if (!block) throw std::bad_alloc();
    ++live;
    ++seen;
    return static_cast<char *>(block) + header;
}

void operator delete(void *object) noexcept {
    if (!object) return;
    --live;
    std::free(static_cast<char *>(object) - header);
}

struct Sized {
    char bytes[100];
};

int main() {
    std::vector<Sized *> objects;
    for (int i = 0; i < 20000; ++i) objects.push_back(new Sized{});
    for (Sized *object : objects) delete object;
    std::printf("sized: seen %d\n", seen >= 20000);

    for (int i = 1; i < 2000; ++i) {
        std::string *array = new std::string[i % 50 + 1];
        array[0] = std::string(i, 'x');
        delete[] array;
    }
    long before = seen;
    int *quiet = new (std::nothrow) int(7);
    std::printf("nothrow: %d, seen %ld\n", *quiet, seen - before);
    delete quiet;
    before = seen;
    int *quiet_array = new (std::nothrow) int[100];
    std::printf("nothrow array: seen %ld\n", seen - before);
    delete[] quiet_array;

    std::vector<int> numbers(50000);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = (i * 7919) % 50021;
    std::stable_sort(numbers.begin(), numbers.end());
    std::printf("sorted: %d\n", std::is_sorted(numbers.begin(), numbers.end()));

    numbers = {};
    objects = {};
    std::printf("live: %ld\n", live);
}
