// Many small objects allocated, then all freed: in the same order, in the opposite one, and in a random one.
//
// Allocation: 5000 objects of one size (16–256 bytes), and 5000 of a few sizes with the small ones more
// frequent, by each thread on its own. Lifetimes: one fill of the table. Nothing else is done, so that this is
// the allocator's own speed.
#include "program.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

using namespace program;

namespace {

constexpr std::uint32_t objects = 5000;

class Table {
  public:
    explicit Table(unsigned seed) : random(seed), table(objects), in_order(objects), shuffled(objects) {
        std::iota(in_order.begin(), in_order.end(), 0);
        shuffled = in_order;
        for (std::uint32_t i = objects - 1; i > 0; i--) std::swap(shuffled[i], shuffled[random.below(i + 1)]);
        // Of 64 objects, 32 of the smallest size, 16 of the next, and so on.
        std::uint32_t weight = 32;
        for (std::uint32_t size : {24u, 40u, 64u, 120u, 200u, 400u}) {
            mixed.insert(mixed.end(), std::max(weight, 1u), size);
            weight /= 2;
        }
        for (std::uint32_t i = mixed.size() - 1; i > 0; i--) std::swap(mixed[i], mixed[random.below(i + 1)]);
    }

    void round() {
        for (std::uint32_t size : {16u, 48u, 256u}) {
            fill([size](std::uint32_t) { return size; });
            clear(shuffled.begin(), shuffled.end());
            fill([size](std::uint32_t) { return size; });
            clear(in_order.rbegin(), in_order.rend());
        }
        for (int once_more = 0; once_more < 2; once_more++) {
            fill([this](std::uint32_t i) { return mixed[i % mixed.size()]; });
            clear(in_order.begin(), in_order.end());
            fill([this](std::uint32_t i) { return mixed[i % mixed.size()]; });
            clear(shuffled.begin(), shuffled.end());
        }
    }

    std::uint64_t value() const { return sum; }

  private:
    template <class SizeOf> void fill(SizeOf size_of) {
        for (std::uint32_t i = 0; i < objects; i++) {
            auto *object = static_cast<std::uint64_t *>(std::malloc(size_of(i)));
            object[0] = ++stamp;
            object[1] = i;
            table[i] = object;
        }
    }

    template <class Index> void clear(Index index, Index end) {
        for (; index != end; ++index) {
            std::uint64_t *object = table[*index];
            require(object[1] == *index, "churn: an object lost its contents");
            sum = sum * 3 + object[0];
            std::free(object);
        }
    }

    Random random;
    std::vector<std::uint64_t *> table;
    std::vector<std::uint32_t> in_order, shuffled, mixed;
    std::uint64_t stamp = 0;
    std::uint64_t sum = 0;
};

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, several);
    const unsigned rounds = std::max(options.pick(4u, 80u, 480u) / options.threads, 1u);

    std::atomic<std::uint64_t> total{0};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < options.threads; i++) {
        threads.emplace_back([i, rounds, &total] {
            Table table(i);
            for (unsigned round = 0; round < rounds; round++) table.round();
            total += hash(table.value());
        });
    }
    for (std::thread &thread : threads) thread.join();
    return finish("churn", total);
}
