// Every replaceable operator new and delete, what they promise, and what happens without memory.
// Prints lines that do not depend on the allocator.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

static volatile std::size_t hidden;
static std::size_t opaque(std::size_t value) { hidden = value; return hidden; }
static const std::size_t too_much = std::size_t(1) << 62;

static void expect(bool good, const char *what, std::size_t size) {
    if (!good) std::printf("%s of %zu bytes: wrong\n", what, size);
}

static void *checked(void *p, std::size_t size, std::size_t align, const char *what) {
    expect(p && reinterpret_cast<std::uintptr_t>(p) % align == 0, what, size);
    if (p) std::memset(p, 0x77, size);
    return p;
}

static void all_forms() {
    for (std::size_t size : {0, 1, 8, 15, 16, 17, 100, 511, 512, 513, 5000, 70000, 300000, 3000000}) {
        std::size_t natural = size >= 16 ? 16 : 8;
        operator delete(checked(operator new(opaque(size)), size, natural, "new"));
        operator delete(checked(operator new(opaque(size)), size, natural, "new"), size);
        operator delete[](checked(operator new[](opaque(size)), size, natural, "new[]"));
        operator delete[](checked(operator new[](opaque(size)), size, natural, "new[]"), size);
        operator delete(checked(operator new(opaque(size), std::nothrow), size, natural, "nothrow"), std::nothrow);
        operator delete[](checked(operator new[](opaque(size), std::nothrow), size, natural, "nothrow[]"), std::nothrow);
        for (std::size_t align = 1; align <= 65536; align *= 2) {
            std::align_val_t a{align};
            operator delete(checked(operator new(opaque(size), a), size, align, "aligned"), a);
            operator delete(checked(operator new(opaque(size), a), size, align, "aligned"), size, a);
            operator delete[](checked(operator new[](opaque(size), a), size, align, "aligned[]"), a);
            operator delete[](checked(operator new[](opaque(size), a), size, align, "aligned[]"), size, a);
            operator delete(checked(operator new(opaque(size), a, std::nothrow), size, align, "aligned nothrow"), a, std::nothrow);
            operator delete[](checked(operator new[](opaque(size), a, std::nothrow), size, align, "aligned nothrow[]"), a, std::nothrow);
        }
    }
    operator delete(nullptr);
    operator delete[](nullptr, std::size_t(8));
    operator delete(nullptr, std::size_t(8), std::align_val_t(64));
    std::puts("all forms");
}

static int handler_calls;
struct OutOfMemory : std::bad_alloc {};

static void give_up_at_three() {
    if (++handler_calls == 3) std::set_new_handler(nullptr);
}
static void throw_own() {
    ++handler_calls;
    throw OutOfMemory();
}
static void throw_foreign() {
    ++handler_calls;
    throw 42;
}

// Lives on the stack of whoever allocates: unwinding must run its destructor.
struct Witness {
    const char *name;
    ~Witness() { std::printf("  unwound %s\n", name); }
};

template <class F> static void attempt(const char *what, std::new_handler handler, F allocate) {
    handler_calls = 0;
    std::set_new_handler(handler);
    try {
        Witness witness{what};
        void *p = allocate();
        std::printf("%s: %s\n", what, p ? "object" : "null");
    } catch (OutOfMemory &) {
        std::printf("%s: the handler's exception\n", what);
    } catch (std::bad_alloc &) {
        std::printf("%s: bad_alloc\n", what);
    } catch (int n) {
        std::printf("%s: %d\n", what, n);
    }
    std::printf("  handler calls: %d\n", handler_calls);
    std::set_new_handler(nullptr);
}

static void without_memory() {
    const std::align_val_t a{64};
    std::new_handler handlers[] = {nullptr, give_up_at_three, throw_own, throw_foreign};
    for (std::new_handler h : handlers) {
        attempt("new", h, [] { return operator new(opaque(too_much)); });
        attempt("new[]", h, [] { return operator new[](opaque(too_much)); });
        attempt("new, beyond any size", h, [] { return operator new(opaque(SIZE_MAX)); });
        attempt("aligned new", h, [=] { return operator new(opaque(too_much), a); });
        attempt("aligned new[]", h, [=] { return operator new[](opaque(too_much), a); });
        attempt("nothrow new", h, [] { return operator new(opaque(too_much), std::nothrow); });
        attempt("nothrow new[]", h, [] { return operator new[](opaque(too_much), std::nothrow); });
        attempt("aligned nothrow new", h, [=] { return operator new(opaque(too_much), a, std::nothrow); });
        attempt("aligned nothrow new[]", h, [=] { return operator new[](opaque(too_much), a, std::nothrow); });
    }
    try {
        std::vector<char> v(opaque(too_much));
    } catch (std::bad_alloc &) {
        std::puts("vector: bad_alloc");
    }
}

struct alignas(128) Wide {
    char bytes[200];
};

struct PerThread {
    std::map<int, std::string> table;
    ~PerThread() {
        // Allocates in a destructor of thread-local storage.
        for (int i = 0; i < 100; i++) table[i + 1000] = std::string(std::size_t(i) * 9, 'x');
        if (table.size() < 100) std::puts("thread-local table lost entries");
    }
};
static thread_local PerThread per_thread;

static void library() {
    std::vector<std::thread> threads;
    for (int t = 0; t < 20; t++)
        threads.emplace_back([t] {
            for (int i = 0; i < 300; i++) per_thread.table[i * 7 % 101] += std::to_string(i * t);
            std::unique_ptr<Wide[]> wide(new Wide[5]);
            if (reinterpret_cast<std::uintptr_t>(wide.get()) % 128) std::puts("Wide is misaligned");
        });
    for (std::thread &thread : threads) thread.join();
    std::vector<std::string> words;
    for (int i = 0; i < 20000; i++) words.push_back(std::string(std::size_t(i) % 60, char('a' + i % 26)));
    std::size_t total = 0;
    for (const std::string &word : words) total += word.size();
    std::printf("library: %zu\n", total);
}

int main() {
    all_forms();
    without_memory();
    library();
}
