// Objects of all sizes and lifetimes in one heap, some of them freed by other threads.
//
// Allocation: sizes of 8 bytes to 64 KiB, each doubling half as frequent as the one below it; one object in
// eight is zeroed memory, one in sixteen grows by realloc. Lifetimes: short (freed within 16 allocations,
// three quarters of all), long (a table of 4000 objects, replaced at random), and lifelong (one in a hundred
// of those above 16 bytes). One long-lived object in four goes to whichever thread comes next through an exchange.
#include "program.hpp"

#include <array>
#include <atomic>
#include <thread>
#include <vector>

using namespace program;

namespace {

constexpr std::size_t short_lived = 16;
constexpr std::size_t long_lived = 4000;
constexpr std::size_t exchange_slots = 64;

// The header of every object of 16 bytes or more; of a smaller one, only the first field is there.
struct Header {
    std::uint64_t size_and_stamp; // size in the low 32 bits
    std::uint64_t link;           // lifelong objects: the next one
};

using Exchange = std::array<std::atomic<Header *>, exchange_slots>;

std::size_t size_of(const Header *object) { return static_cast<std::uint32_t>(object->size_and_stamp); }

// One byte of every 128 above the header, and the last one.
void stamp(Header *object, std::size_t size, std::uint32_t value) {
    object->size_and_stamp = size | std::uint64_t(value) << 32;
    auto *bytes = reinterpret_cast<unsigned char *>(object);
    for (std::size_t i = 128; i < size; i += 128) bytes[i] = static_cast<unsigned char>(value);
    if (size > sizeof(Header)) bytes[size - 1] = static_cast<unsigned char>(value);
}

class Worker {
  public:
    Worker(unsigned seed, Exchange &exchange)
        : random(seed), exchange(exchange), recent(short_lived), table(long_lived) {}

    void work(unsigned operations) {
        for (unsigned i = 0; i < operations; i++) {
            Header *object = make();
            std::uint32_t kind = random.below(100);
            if (kind == 0 && size_of(object) >= sizeof(Header)) {
                object->link = reinterpret_cast<std::uint64_t>(lifelong);
                lifelong = object;
            } else if (kind < 75) {
                replace(recent[i % short_lived], object);
            } else {
                Header *&slot = table[random.below(long_lived)];
                if (random.below(4) == 0) {
                    // What comes back was put there by any thread. Nothing here depends on what it is.
                    object = exchange[random.below(exchange_slots)].exchange(object, std::memory_order_acq_rel);
                }
                replace(slot, object);
            }
        }
    }

    std::uint64_t clear() {
        for (Header *&object : recent) replace(object, nullptr);
        for (Header *&object : table) replace(object, nullptr);
        while (lifelong) {
            auto *next = reinterpret_cast<Header *>(lifelong->link);
            drop(lifelong);
            lifelong = next;
        }
        return sum;
    }

    // Frees an object, which may be null.
    void drop(Header *object) {
        if (!object) return;
        std::size_t size = size_of(object);
        auto value = static_cast<unsigned char>(object->size_and_stamp >> 32);
        auto *bytes = reinterpret_cast<unsigned char *>(object);
        unsigned char different = 0;
        for (std::size_t i = 128; i < size; i += 128) different |= bytes[i] ^ value;
        if (size > sizeof(Header)) different |= bytes[size - 1] ^ value;
        require(!different, "sizemix: an object lost its contents");
        sum += hash(object->size_and_stamp);
        std::free(object);
    }

  private:
    Header *make() {
        std::size_t size = random.doublings(3, 16, 2);
        auto value = static_cast<std::uint32_t>(random.next());
        std::uint32_t way = random.below(16);
        Header *object;
        if (way < 2) {
            object = static_cast<Header *>(std::calloc(size, 1));
            auto *bytes = reinterpret_cast<unsigned char *>(object);
            require(!bytes[0] && !bytes[size / 2] && !bytes[size - 1], "sizemix: calloc gave other than zeros");
        } else {
            object = static_cast<Header *>(std::malloc(size));
            if (way == 2) {
                stamp(object, size, value);
                size += size / 2;
                object = static_cast<Header *>(std::realloc(object, size));
                require(object->size_and_stamp >> 32 == value, "sizemix: realloc lost the contents");
            }
        }
        stamp(object, size, value);
        return object;
    }

    void replace(Header *&slot, Header *object) {
        drop(slot);
        slot = object;
    }

    Random random;
    Exchange &exchange;
    std::vector<Header *> recent, table;
    Header *lifelong = nullptr;
    std::uint64_t sum = 0;
};

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, several);
    const unsigned operations = options.pick(60'000u, 2'000'000u, 14'000'000u) / options.threads;

    Exchange exchange{};
    std::atomic<std::uint64_t> total{0};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < options.threads; i++) {
        threads.emplace_back([i, operations, &exchange, &total] {
            Worker worker(i, exchange);
            worker.work(operations);
            total += worker.clear();
        });
    }
    for (std::thread &thread : threads) thread.join();
    Worker last(options.threads, exchange);
    for (auto &slot : exchange) last.drop(slot.load());
    total += last.clear();
    return finish("sizemix", total);
}
