// Large blocks that come and go: images, matrices, read buffers.
//
// Allocation: 256 KiB–25 MiB, each doubling half as frequent as the one below it; every page written once.
// Lifetimes: random replacement in a table of 40, with at most 96 MiB live (24 MiB in small runs).
// One thread.
#include "program.hpp"

#include <array>

using namespace program;

namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t largest = 25 << 20;

struct Block {
    unsigned char *bytes = nullptr;
    std::size_t size = 0;
    std::uint64_t stamp = 0;
};

std::uint64_t drop(Block &block) {
    if (!block.bytes) return 0;
    std::uint64_t first, last;
    std::memcpy(&first, block.bytes, sizeof first);
    std::memcpy(&last, block.bytes + (block.size - 1) / page * page, sizeof last);
    require(first == block.stamp && last == block.stamp, "largemix: a block lost its contents");
    delete[] block.bytes;
    block = Block();
    return hash(first);
}

Block make(Random &random) {
    Block block;
    do block.size = random.doublings(18, 25, 2);
    while (block.size > largest);
    block.size = (block.size + page) / page * page;
    block.stamp = random.next();
    block.bytes = new unsigned char[block.size];
    for (std::size_t i = 0; i < block.size; i += page)
        std::memcpy(block.bytes + i, &block.stamp, sizeof block.stamp);
    return block;
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    const unsigned operations = options.pick(60u, 1600u, 14'000u);
    const std::size_t limit = std::size_t(options.pick(24, 24, 96)) << 20;

    Random random(13);
    std::array<Block, 40> table{};
    std::size_t live = 0;
    std::uint64_t sum = 0;
    auto clear = [&](Block &block) {
        live -= block.size;
        sum += drop(block);
    };
    for (unsigned i = 0; i < operations; i++) {
        Block &slot = table[random.below(table.size())];
        clear(slot);
        Block block = make(random);
        live += block.size;
        while (live > limit && live > block.size) clear(table[random.below(table.size())]);
        slot = block;
    }
    for (Block &block : table) clear(block);
    return finish("largemix", sum);
}
