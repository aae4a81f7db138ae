// Arrays and strings that grow by realloc.
//
// Allocation: an array that doubles from 1 KiB to 64 MiB (4 MiB in small runs); three that grow by half, in
// turns, to an eighth of that; strings that are appended to by a few bytes, 32 in turns, to 8 KiB; and buffers
// that grow by steps of 64 bytes and are cut to their contents. Lifetimes: a pattern. One thread.
#include "program.hpp"

#include <algorithm>
#include <array>
#include <vector>

using namespace program;

namespace {

// A block from realloc with a known part in use, as C programs have it.
struct Buffer {
    unsigned char *bytes = nullptr;
    std::size_t capacity = 0;
    std::size_t length = 0;

    void resize(std::size_t size) {
        bytes = static_cast<unsigned char *>(std::realloc(bytes, size));
        require(bytes, "growth: no memory");
        capacity = size;
    }

    // Fills all that is new.
    void fill(unsigned char value) {
        std::memset(bytes + length, value, capacity - length);
        length = capacity;
    }

    // One byte of each 4 KiB, and the last one; then it is freed.
    std::uint64_t drop() {
        Checksum sum;
        for (std::size_t i = 0; i < length; i += 4096) sum.add(bytes[i]);
        sum.add(bytes[length - 1]);
        sum.add(length);
        std::free(bytes);
        *this = Buffer();
        return sum.value();
    }
};

std::uint64_t doubling(std::size_t limit) {
    Buffer array;
    unsigned char step = 0;
    for (std::size_t size = 1024; size <= limit; size *= 2) {
        array.resize(size);
        array.fill(++step);
    }
    return array.drop();
}

std::uint64_t by_half(std::size_t limit) {
    std::array<Buffer, 3> arrays;
    unsigned char step = 0;
    for (std::size_t size = 1024; size <= limit; size += size / 2) {
        for (Buffer &array : arrays) {
            array.resize(size);
            array.fill(++step);
        }
    }
    std::uint64_t sum = 0;
    for (Buffer &array : arrays) sum = sum * 3 + array.drop();
    return sum;
}

std::uint64_t strings(Random &random) {
    std::vector<Buffer> texts(32);
    for (bool growing = true; growing;) {
        growing = false;
        for (Buffer &text : texts) {
            // Bursts: a writer mostly appends several times in a row.
            for (unsigned times = random.between(1, 8); times > 0 && text.length < 8192; times--) {
                growing = true;
                text.resize(text.length + random.between(1, 48));
                text.fill(static_cast<unsigned char>(text.length));
            }
        }
    }
    std::uint64_t sum = 0;
    for (Buffer &text : texts) sum = sum * 3 + text.drop();
    return sum;
}

std::uint64_t lines(Random &random) {
    std::vector<Buffer> read;
    for (unsigned line = 0; line < 64; line++) {
        Buffer &buffer = read.emplace_back();
        std::size_t length = random.doublings(5, 15, 1);
        while (buffer.length < length) {
            buffer.resize(buffer.capacity + 64);
            buffer.fill(static_cast<unsigned char>(line));
        }
        buffer.resize(length);
        buffer.length = length;
    }
    std::uint64_t sum = 0;
    for (Buffer &buffer : read) sum = sum * 3 + buffer.drop();
    return sum;
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    const std::size_t limit = options.pick(std::size_t(1) << 20, std::size_t(1) << 22, std::size_t(1) << 26);
    const unsigned rounds = options.pick(1u, 32u, 10u);
    const unsigned small_rounds = options.pick(1u, 6u, 20u);

    Random random(7);
    Checksum sum;
    for (unsigned round = 0; round < rounds; round++) {
        sum.add(doubling(limit));
        sum.add(by_half(limit / 8));
        for (unsigned i = 0; i < small_rounds; i++) {
            sum.add(strings(random));
            sum.add(lines(random));
        }
    }
    return finish("growth", sum.value());
}
