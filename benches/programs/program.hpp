// What all programs here have in common: the command line, random numbers, the checksum. Nothing in this
// file allocates, so that all of a program's allocations are to be seen in its own file.
#pragma once

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace program {

enum class Size { tiny, small, large };

struct Options {
    Size size;
    unsigned threads;

    template <class T> T pick(T tiny, T small, T large) const {
        return size == Size::tiny ? tiny : size == Size::small ? small : large;
    }
};

// How many threads a program can be asked for, and what it takes if it is not asked.
struct Threads {
    unsigned least, usual, most;
};

constexpr Threads single{1, 1, 1};
constexpr Threads several{1, 2, 64};

// Ends the program with one line: a benchmark whose objects lose their contents measures nothing.
[[noreturn]] inline void fail(const char *what) {
    std::fprintf(stderr, "%s\n", what);
    std::exit(1);
}

inline void require(bool good, const char *what) {
    if (!good) fail(what);
}

// PROGRAM small|large|tiny [THREADS]
inline Options parse(int argc, char **argv, Threads threads) {
    Options options{Size::small, threads.usual};
    bool good = argc == 2 || argc == 3;
    if (good) {
        if (!std::strcmp(argv[1], "tiny")) options.size = Size::tiny;
        else if (!std::strcmp(argv[1], "small")) options.size = Size::small;
        else if (!std::strcmp(argv[1], "large")) options.size = Size::large;
        else good = false;
    }
    if (good && argc == 3) {
        char *end;
        unsigned long asked = std::strtoul(argv[2], &end, 10);
        good = end != argv[2] && !*end && asked >= threads.least && asked <= threads.most;
        options.threads = static_cast<unsigned>(asked);
    }
    if (!good) {
        std::fprintf(stderr, "usage: %s small|large|tiny [THREADS], THREADS from %u to %u\n", argv[0],
                     threads.least, threads.most);
        std::exit(2);
    }
    return options;
}

// A bijection that spreads every bit of its argument (the finaliser of SplitMix64).
inline std::uint64_t hash(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

// SplitMix64: small, and the same everywhere, unlike the distributions of the standard library.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state(hash(seed + 1)) {}

    std::uint64_t next() { return hash(state += 0x9e3779b97f4a7c15); }

    // Uniform in 0 … bound − 1, apart from a bias of bound / 2³².
    std::uint32_t below(std::uint32_t bound) {
        return static_cast<std::uint32_t>((next() >> 32) * bound >> 32);
    }

    // Uniform in low … high.
    std::uint32_t between(std::uint32_t low, std::uint32_t high) { return low + below(high - low + 1); }

    // A size between two powers of two with all doublings equally likely, or, with a `tail` above one,
    // each that many times as rare as the one below it.
    std::size_t doublings(unsigned lowest, unsigned highest, unsigned tail) {
        unsigned power = lowest;
        if (tail == 1) {
            power += below(highest - lowest);
        } else {
            while (below(tail) == 0) power = power + 1 < highest ? power + 1 : lowest;
        }
        std::size_t base = std::size_t(1) << power;
        return base + (next() >> 16) % base;
    }

  private:
    std::uint64_t state;
};

// A checksum of values in their order. Those of threads are added up: sums do not depend on who is first.
class Checksum {
  public:
    void add(std::uint64_t value) { state = hash(state ^ value) + 0x632be59bd9b4e019; }

    void add(const char *text, std::size_t length) {
        std::uint64_t h = length;
        for (std::size_t i = 0; i < length; i++) h = h * 31 + static_cast<unsigned char>(text[i]);
        add(h);
    }

    std::uint64_t value() const { return state; }

  private:
    std::uint64_t state = 0;
};

// The program's one line.
inline int finish(const char *name, std::uint64_t checksum) {
    std::printf("%s %016" PRIx64 "\n", name, checksum);
    return 0;
}

} // namespace program
