/* Threads that allocate in every way there is, resize, free, purge, hand objects to each other, end and
 * start again, while one of them forks. Every object carries a pattern made from its own number and
 * length, which whoever holds it checks before it is resized or freed.
 *
 * argv[1]: for how many seconds, 0 for a fixed amount of work. argv[2]: the seed of all choices. argv[3]:
 * bytes of the largest object. Prints one line that depends on none of them. */
#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memento.h"
#pragma weak memento_invocation_end

extern "C" {
void free_sized(void *object, size_t size) __attribute__((weak));
void free_aligned_sized(void *object, size_t align, size_t size) __attribute__((weak));
}

namespace {

constexpr size_t KIB = 1024, MIB = 1024 * KIB;
constexpr int THREADS = 6, OPERATIONS = 3000, HELD = 200, EXCHANGE = 300, SHORT_ROUNDS = 4, SHORT_FORKS = 20;

unsigned long long seed;
/* The largest object. Large ones are made while all live ones are less than three of them together. */
size_t largest = 64 * MIB;
std::atomic<size_t> live_bytes;

[[noreturn]] void fail(const char *what) {
    fprintf(stderr, "seed %llu: %s\n", seed, what);
    abort();
}

struct Random {
    uint64_t state;
    explicit Random(uint64_t stream) : state(seed * 0x9e3779b97f4a7c15u + stream * 0xbf58476d1ce4e5b9u + 1) {}
    uint64_t next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state * 0x2545f4914f6cdd1du >> 16;
    }
    size_t below(size_t n) { return next() % n; }
};

enum class From { malloc, aligned_alloc, plain_new, array_new, aligned_new };

struct Object {
    unsigned char *at = nullptr;
    size_t size = 0, align = 0;
    uint64_t number = 0;
    From from = From::malloc;
};

/* The bytes that carry the pattern: all of small objects, both ends of large ones and some between. */
template <class F> void marks(size_t size, size_t up_to, F each) {
    size_t dense = std::min<size_t>(size, 512), step = std::max<size_t>(1, size / 256) | 1;
    for (size_t i = 0; i < dense; i++)
        if (i < up_to) each(i);
    for (size_t i = dense; i < size && i < up_to; i += step) each(i);
    for (size_t i = std::max(dense, size - std::min<size_t>(size, 64)); i < size && i < up_to; i++) each(i);
}

unsigned char mark(const Object &o, size_t i) {
    return (unsigned char)((o.number * 31 + o.size) * 7 + i * 13 + (i >> 8));
}

void fill(Object &o) {
    marks(o.size, o.size, [&](size_t i) { o.at[i] = mark(o, i); });
}

/* Checks the first `kept` bytes of `at` against the pattern of `o`. */
void check(const Object &o, const unsigned char *at, size_t kept) {
    marks(o.size, kept, [&](size_t i) {
        if (at[i] != mark(o, i)) fail("an object lost its contents");
    });
}

size_t a_size(Random &random) {
    size_t kind = random.below(2048);
    if (kind < 700) return random.below(64);
    if (kind < 1500) return random.below(513);
    if (kind < 1850) return random.below(4 * KIB);
    if (kind < 1990) return random.below(40 * KIB);
    if (kind < 2030) return random.below(300 * KIB);
    if (live_bytes.load(std::memory_order_relaxed) > 3 * largest) return random.below(KIB);
    return random.below(kind < 2045 ? std::min(largest, 4 * MIB) : largest);
}

void *obtain(Object &o, Random &random) {
    switch (random.below(8)) {
    case 0: {
        auto *at = (unsigned char *)calloc(1, o.size);
        if (at) marks(o.size, o.size, [&](size_t i) { if (at[i]) fail("calloc gave dirty memory"); });
        o.from = From::malloc;
        return at;
    }
    case 1: {
        o.from = From::aligned_alloc;
        o.align = (size_t)8 << random.below(14);
        if (random.below(2)) return aligned_alloc(o.align, o.size);
        void *at;
        return posix_memalign(&at, o.align, o.size) ? nullptr : at;
    }
    case 2:
        o.from = From::plain_new;
        return random.below(2) ? ::operator new(o.size) : ::operator new(o.size, std::nothrow);
    case 3:
        o.from = From::array_new;
        return ::operator new[](o.size);
    case 4:
        o.from = From::aligned_new;
        o.align = (size_t)16 << random.below(10);
        return ::operator new(o.size, std::align_val_t(o.align));
    default:
        o.from = From::malloc;
        return malloc(o.size);
    }
}

void make(Object &o, Random &random) {
    o.size = a_size(random);
    o.number = random.next();
    o.align = o.size >= 16 ? 16 : 8;
    o.at = (unsigned char *)obtain(o, random);
    if (!o.at) fail("out of memory");
    if ((uintptr_t)o.at % o.align) fail("misaligned");
    if (malloc_usable_size(o.at) < o.size) fail("too small");
    live_bytes += o.size;
    fill(o);
}

void drop(Object &o, Random &random) {
    check(o, o.at, o.size);
    live_bytes -= o.size;
    bool sized = random.below(2);
    switch (o.from) {
    case From::malloc:
        if (sized && free_sized) free_sized(o.at, o.size);
        else free(o.at);
        break;
    case From::aligned_alloc:
        if (sized && free_aligned_sized) free_aligned_sized(o.at, o.align, o.size);
        else free(o.at);
        break;
    case From::plain_new:
        sized ? ::operator delete(o.at, o.size) : ::operator delete(o.at);
        break;
    case From::array_new:
        sized ? ::operator delete[](o.at, o.size) : ::operator delete[](o.at);
        break;
    case From::aligned_new:
        sized ? ::operator delete(o.at, o.size, std::align_val_t(o.align))
              : ::operator delete(o.at, std::align_val_t(o.align));
    }
    o.at = nullptr;
}

void resize(Object &o, Random &random) {
    if (o.from != From::malloc && o.from != From::aligned_alloc) return;
    size_t size = a_size(random) + 1;
    /* Programs grow by a half as often as by anything else. */
    if (random.below(2)) size = std::min(o.size + o.size / 2 + 1, largest);
    check(o, o.at, o.size);
    auto *at = (unsigned char *)realloc(o.at, size);
    if (!at) fail("out of memory");
    check(o, at, std::min(size, o.size));
    live_bytes += size - o.size;
    o.at = at;
    o.size = size;
    o.align = 8;
    o.from = From::malloc;
    fill(o);
}

std::mutex exchange_lock;
std::array<Object, EXCHANGE> exchange;

/* Swaps with what another thread left. */
void hand_over(Object &o, Random &random) {
    std::lock_guard<std::mutex> guard(exchange_lock);
    std::swap(o, exchange[random.below(EXCHANGE)]);
}

void work(uint64_t stream) {
    Random random(stream);
    std::array<Object, HELD> held;
    for (int n = 0; n < OPERATIONS; n++) {
        Object &o = held[random.below(HELD)];
        if (!o.at) {
            make(o, random);
            continue;
        }
        switch (random.below(6)) {
        case 0: resize(o, random); break;
        case 1: hand_over(o, random); break;
        default: drop(o, random);
        }
        if (random.below(1000) == 0) {
            if (random.below(2) && memento_invocation_end) memento_invocation_end();
            else malloc_trim(0);
        }
    }
    /* Half of what is left is freed here, half by whoever finds it after this thread's end. */
    for (Object &o : held) {
        if (o.at && random.below(2)) hand_over(o, random);
        if (o.at) drop(o, random);
    }
}

/* A child has one thread, whatever the others were doing when it was made. */
void fork_once(uint64_t stream) {
    pid_t pid = fork();
    if (pid < 0) {
        /* The system may have no room for another process at the moment. */
        if (errno != EAGAIN && errno != ENOMEM) fail("fork");
        return;
    }
    if (pid == 0) {
        Random random(stream);
        std::vector<Object> held(50);
        for (int n = 0; n < 300; n++) {
            Object &o = held[random.below(held.size())];
            if (!o.at) make(o, random);
            else if (random.below(3) == 0) resize(o, random);
            else drop(o, random);
        }
        for (Object &o : held)
            if (o.at) drop(o, random);
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status) fail("a fork child failed");
}

} // namespace

int main(int argc, char **argv) {
    long seconds = argc > 1 ? atol(argv[1]) : 0;
    seed = argc > 2 ? strtoull(argv[2], nullptr, 10) : 1;
    if (argc > 3) largest = strtoull(argv[3], nullptr, 10);
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    auto goes_on = [&](int done, int fixed) {
        return seconds ? std::chrono::steady_clock::now() < end : done < fixed;
    };
    std::vector<std::thread> threads;
    for (uint64_t t = 0; t < THREADS; t++)
        threads.emplace_back([=] {
            for (int round = 0; goes_on(round, SHORT_ROUNDS); round++)
                std::thread(work, t << 32 | (uint64_t)round).join();
        });
    threads.emplace_back([=] {
        for (int n = 0; goes_on(n, SHORT_FORKS); n++) {
            fork_once((uint64_t)n << 8 | 0xff);
            std::this_thread::yield();
        }
    });
    for (std::thread &thread : threads) thread.join();
    Random random(~0ull);
    for (Object &o : exchange)
        if (o.at) drop(o, random);
    puts("every object kept its contents");
    return 0;
}
