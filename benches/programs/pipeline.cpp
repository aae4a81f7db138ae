// Producers that only allocate, consumers that only free.
//
// Messages go in batches through one bounded queue: what a consumer frees always belongs to another thread,
// and a producer never gets anything back unless the allocator brings it back.
//
// Allocation: messages of 16–512 bytes, mostly small; a batch is an object of 64 pointers. Lifetime: the way
// through the queue, at most 32 batches. Half of the threads produce, the other half consume; the number of
// messages is fixed.
#include "program.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

using namespace program;

namespace {

constexpr std::size_t batch_length = 64;
constexpr std::size_t queue_length = 32;

struct Message {
    std::uint64_t stamp;
    std::uint32_t size; // with this header
    unsigned char payload[4];
};

struct Batch {
    Message *messages[batch_length];
};

class Queue {
  public:
    void push(Batch *batch) {
        std::unique_lock<std::mutex> guard(lock);
        has_room.wait(guard, [this] { return batches.size() < queue_length; });
        batches.push_back(batch);
        has_batch.notify_one();
    }

    // Null once the queue is closed and empty.
    Batch *pop() {
        std::unique_lock<std::mutex> guard(lock);
        has_batch.wait(guard, [this] { return closed || !batches.empty(); });
        if (batches.empty()) return nullptr;
        Batch *batch = batches.front();
        batches.pop_front();
        has_room.notify_one();
        return batch;
    }

    void close() {
        std::lock_guard<std::mutex> guard(lock);
        closed = true;
        has_batch.notify_all();
    }

  private:
    std::mutex lock;
    std::condition_variable has_room, has_batch;
    std::deque<Batch *> batches;
    bool closed = false;
};

void produce(Queue &queue, unsigned seed, unsigned batches) {
    Random random(seed);
    for (unsigned i = 0; i < batches; i++) {
        Batch *batch = new Batch;
        for (Message *&message : batch->messages) {
            auto size = random.below(8) ? random.between(16, 96) : random.between(97, 512);
            message = static_cast<Message *>(std::malloc(size));
            message->stamp = random.next();
            message->size = size;
            reinterpret_cast<unsigned char *>(message)[size - 1] = static_cast<unsigned char>(size);
        }
        queue.push(batch);
    }
}

void consume(Queue &queue, std::atomic<std::uint64_t> &total) {
    std::uint64_t sum = 0;
    while (Batch *batch = queue.pop()) {
        for (Message *message : batch->messages) {
            unsigned char last = reinterpret_cast<unsigned char *>(message)[message->size - 1];
            sum += hash(message->stamp ^ std::uint64_t(last) << 56 ^ message->size);
            std::free(message);
        }
        delete batch;
    }
    total += sum;
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, {2, 2, 64});
    const unsigned producers = options.threads / 2;
    const unsigned batches = options.pick(1600u, 48'000u, 300'000u) / producers;

    Queue queue;
    std::atomic<std::uint64_t> total{0};
    std::vector<std::thread> making, taking;
    for (unsigned i = 0; i < producers; i++) making.emplace_back(produce, std::ref(queue), i, batches);
    for (unsigned i = producers; i < options.threads; i++)
        taking.emplace_back(consume, std::ref(queue), std::ref(total));
    for (std::thread &thread : making) thread.join();
    queue.close();
    for (std::thread &thread : taking) thread.join();
    return finish("pipeline", total);
}
