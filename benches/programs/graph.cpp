// A road network in the standard containers: built, searched for shortest ways, grouped, rebuilt in part.
//
// Allocation: a hash map of nodes, each with a list of its edges; the frontier of the search is an ordered
// set with one node for every improvement; nodes are then grouped by distance in a map of lists. Objects of
// 24–64 bytes, a hash table of up to several MiB. Lifetimes: the graph to the end, apart from the tenth of its
// nodes that each round closes and opens again; the frontier's for a few thousand steps. One thread; a heap of
// some 50 MiB.
#include "program.hpp"

#include <list>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

using namespace program;

namespace {

using Id = std::uint32_t;
using Distance = std::uint32_t;
constexpr Distance unreached = ~Distance(0);

struct Edge {
    Id to;
    Distance length;
};

struct Node {
    std::list<Edge> edges;
    Distance distance = unreached;
};

// A grid with some streets missing and a few bridges between random places.
class Network {
  public:
    Network(std::uint64_t seed, Id side) : random(seed), side(side) {
        for (Id id = 0; id < side * side; id++) open(id);
    }

    // Shortest ways from `start`; the number of nodes that can be reached.
    std::size_t search(Id start) {
        for (auto &[id, node] : nodes) node.distance = unreached;
        std::set<std::pair<Distance, Id>> frontier;
        nodes.at(start).distance = 0;
        frontier.emplace(0, start);
        std::size_t reached = 0;
        while (!frontier.empty()) {
            auto [distance, id] = *frontier.begin();
            frontier.erase(frontier.begin());
            reached++;
            for (Edge edge : nodes.at(id).edges) {
                auto found = nodes.find(edge.to);
                if (found == nodes.end()) continue;
                Distance &known = found->second.distance;
                Distance better = distance + edge.length;
                if (better >= known) continue;
                if (known != unreached) frontier.erase({known, edge.to});
                known = better;
                frontier.emplace(better, edge.to);
            }
        }
        return reached;
    }

    // Checksum of all nodes in rings around the start, each ring in the order of its nodes' ids.
    std::uint64_t rings() {
        std::map<Distance, std::list<Id>> rings;
        for (Id id = 0; id < side * side; id++) rings[nodes.at(id).distance / 16].push_back(id);
        Checksum sum;
        for (auto &[distance, ids] : rings) {
            sum.add(distance);
            for (Id id : ids) sum.add(id);
        }
        return sum.value();
    }

    // Closes a random tenth of the nodes, then opens it again with other edges.
    void rebuild() {
        std::vector<Id> closed;
        for (Id i = 0; i < side * side / 10; i++) {
            Id id = random.below(side * side);
            if (nodes.erase(id)) closed.push_back(id);
        }
        for (Id id : closed) open(id);
    }

  private:
    void open(Id id) {
        Node &node = nodes[id];
        auto street = [&](bool exists, Id to) {
            if (exists && random.below(8)) node.edges.push_back({to, random.between(1, 100)});
        };
        street(id % side > 0, id - 1);
        street(id % side < side - 1, id + 1);
        street(id >= side, id - side);
        street(id < side * (side - 1), id + side);
        if (random.below(64) == 0) node.edges.push_front({random.below(side * side), 200});
    }

    Random random;
    Id side;
    std::unordered_map<Id, Node> nodes;
};

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    const Id side = options.pick(60u, 250u, 500u);
    const unsigned rounds = options.pick(1u, 2u, 2u);

    Network network(19, side);
    Checksum sum;
    for (unsigned i = 0; i < rounds; i++) {
        sum.add(network.search(i));
        sum.add(network.rings());
        network.rebuild();
    }
    return finish("graph", sum.value());
}
