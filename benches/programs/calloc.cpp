// Zeroed memory of which only a part is used: hash tables, sparse arrays, page buffers.
//
// Allocation: calloc of 1 KiB–64 MiB, each doubling two thirds as frequent as the one below it; up to 8 blocks
// live, replaced in turn. The first byte of each is written, and then one page in sixteen. One thread.
#include "program.hpp"

#include <array>

using namespace program;

namespace {

struct Block {
    unsigned char *bytes = nullptr;
    std::size_t size = 0;
};

constexpr std::size_t page = 4096;

std::uint64_t touch(Block block) {
    std::uint64_t sum = block.size;
    for (std::size_t i = 0; i < block.size; i += 16 * page) {
        require(!block.bytes[i], "calloc: a byte was not zero");
        block.bytes[i] = static_cast<unsigned char>(i / page + 1);
        sum += hash(i);
    }
    require(!block.bytes[block.size - 1], "calloc: the last byte was not zero");
    return sum;
}

std::size_t size(Random &random) {
    unsigned power = 10;
    while (random.below(3) != 0) power = power < 25 ? power + 1 : 10;
    std::size_t base = std::size_t(1) << power;
    return base + (random.next() >> 16) % base;
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    const unsigned operations = options.pick(400u, 20'000u, 150'000u);

    Random random(11);
    std::array<Block, 8> live{};
    Checksum sum;
    for (unsigned i = 0; i < operations; i++) {
        Block &block = live[i % live.size()];
        std::free(block.bytes);
        block.size = size(random);
        block.bytes = static_cast<unsigned char *>(std::calloc(block.size / 8 + 1, 8));
        require(block.bytes, "calloc: no memory");
        sum.add(touch(block));
    }
    for (Block &block : live) std::free(block.bytes);
    return finish("calloc", sum.value());
}
