// A server's sessions that outlive the threads that serve them.
//
// Each lane has a table of live objects. Its worker replaces random ones, then ends; a new thread takes the
// table over and goes on, so that most of what a thread frees was allocated by threads that have ended.
//
// Allocation: 1000 live objects a lane of 8–1000 bytes, uniform, of random lifetimes (1000 replacements on
// average). The number of replacements is fixed, and shared by the lanes.
#include "program.hpp"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

using namespace program;

namespace {

constexpr std::size_t slots = 1000;

struct Object {
    unsigned char *bytes;
    std::uint32_t size;
    std::uint32_t stamp;
};

Object make(Random &random) {
    Object object;
    object.size = random.between(8, 1000);
    object.stamp = static_cast<std::uint32_t>(random.next());
    object.bytes = new unsigned char[object.size];
    std::memcpy(object.bytes, &object.stamp, sizeof object.stamp);
    object.bytes[object.size - 1] = static_cast<unsigned char>(object.size);
    return object;
}

// Frees an object whose contents must be what `make` wrote.
std::uint64_t drop(Object object) {
    std::uint32_t stamp;
    std::memcpy(&stamp, object.bytes, sizeof stamp);
    require(stamp == object.stamp, "server: an object lost its first bytes");
    require(object.bytes[object.size - 1] == static_cast<unsigned char>(object.size),
            "server: an object lost its last byte");
    delete[] object.bytes;
    return hash(stamp ^ std::uint64_t(object.size) << 32);
}

struct Lane {
    explicit Lane(unsigned seed) : random(seed) {}

    Random random;
    std::vector<Object> table;
    std::uint64_t sum = 0;
    unsigned generations_left = 0;
    std::thread worker;
};

// Lanes whose worker has done its part, for the main thread to start the next one.
class Finished {
  public:
    void push(Lane *lane) {
        std::lock_guard<std::mutex> guard(lock);
        lanes.push_back(lane);
        changed.notify_one();
    }

    Lane *pop() {
        std::unique_lock<std::mutex> guard(lock);
        changed.wait(guard, [this] { return !lanes.empty(); });
        Lane *lane = lanes.back();
        lanes.pop_back();
        return lane;
    }

  private:
    std::mutex lock;
    std::condition_variable changed;
    std::vector<Lane *> lanes;
};

void serve(Lane &lane, unsigned replacements, Finished &finished) {
    for (unsigned i = 0; i < replacements; i++) {
        Object &object = lane.table[lane.random.below(slots)];
        lane.sum += drop(object);
        object = make(lane.random);
    }
    finished.push(&lane);
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, several);
    const unsigned generations = options.pick(4u, 20u, 50u);
    const unsigned replacements = options.pick(64'000u, 3'000'000u, 20'000'000u) / options.threads / generations;

    std::vector<Lane> lanes;
    for (unsigned i = 0; i < options.threads; i++) {
        Lane &lane = lanes.emplace_back(i);
        for (std::size_t slot = 0; slot < slots; slot++) lane.table.push_back(make(lane.random));
        lane.generations_left = generations;
    }
    Finished finished;
    auto start = [&](Lane &lane) {
        lane.generations_left--;
        lane.worker = std::thread(serve, std::ref(lane), replacements, std::ref(finished));
    };
    for (Lane &lane : lanes) start(lane);
    for (unsigned running = options.threads; running > 0;) {
        Lane &lane = *finished.pop();
        lane.worker.join();
        if (lane.generations_left > 0) start(lane);
        else running--;
    }
    std::uint64_t sum = 0;
    for (Lane &lane : lanes) {
        for (Object object : lane.table) lane.sum += drop(object);
        sum += lane.sum;
    }
    return finish("server", sum);
}
