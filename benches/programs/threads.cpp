// Threads that live for a moment: each starts, builds a few containers, leaves a result and ends.
//
// Allocation: some 400 objects of 16–200 bytes a thread (nodes of a map, strings, a list), freed by the thread,
// and one result string that the main thread frees after the thread's end. THREADS of them run at a time; their
// number is fixed. This is the cost of an allocator's first and last steps in a thread.
#include "program.hpp"

#include <list>
#include <map>
#include <string>
#include <thread>
#include <vector>

using namespace program;

namespace {

struct Task {
    std::thread thread;
    std::string *result = nullptr;
};

void work(unsigned number, std::string *&result) {
    Random random(number);
    std::map<std::uint32_t, std::string> names;
    std::list<std::uint64_t> trail;
    for (unsigned i = 0; i < 150; i++) {
        std::uint32_t key = random.below(100);
        std::string &name = names[key];
        name += "item " + std::to_string(random.next() >> 20) + " of request " + std::to_string(number);
        if (name.size() > 160) name.erase(0, 80);
        trail.push_back(key);
        if (random.below(3) == 0) trail.pop_front();
    }
    Checksum sum;
    for (auto &[key, name] : names) {
        sum.add(key);
        sum.add(name.data(), name.size());
    }
    for (std::uint64_t key : trail) sum.add(key);
    result = new std::string("result of request: " + std::to_string(sum.value()));
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, several);
    const unsigned tasks = options.pick(100u, 1500u, 12'000u);

    std::vector<Task> running(options.threads);
    Checksum sum;
    auto collect = [&sum](Task &task) {
        if (!task.thread.joinable()) return;
        task.thread.join();
        sum.add(task.result->data(), task.result->size());
        delete task.result;
    };
    for (unsigned i = 0; i < tasks; i++) {
        Task &task = running[i % options.threads];
        collect(task);
        task.thread = std::thread(work, i, std::ref(task.result));
    }
    for (unsigned i = 0; i < options.threads; i++) collect(running[(tasks + i) % options.threads]);
    return finish("threads", sum.value());
}
