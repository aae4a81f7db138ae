// Bodies under gravity, by the method of Barnes and Hut: a tree that is built anew for every step.
//
// Allocation: 88 bytes for every cell of the tree and 64 more if it is divided, 16 bytes for every body in it, and
// for each group of bodies the list of what acts on it, 40 bytes an entry. Lifetimes: the tree a step, freed in
// the order of its cells; the lists a group. One thread.
//
// Floating point is added and multiplied in a fixed order, so that the positions are the same to the last bit.
#include "program.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

using namespace program;

namespace {

struct Vector {
    double x = 0, y = 0, z = 0;

    Vector operator+(Vector o) const { return {x + o.x, y + o.y, z + o.z}; }
    Vector operator-(Vector o) const { return {x - o.x, y - o.y, z - o.z}; }
    Vector operator*(double f) const { return {x * f, y * f, z * f}; }
    double square() const { return x * x + y * y + z * z; }
};

struct Body {
    Vector position, velocity;
    double mass;
};

// A leaf's bodies are a chain; groups are cells of at most this many bodies.
constexpr unsigned group_size = 8;
// A cell acts as a whole where its width is less than this part of its distance.
constexpr double opening = 0.9;
constexpr double softening = 1e-4;
constexpr double step = 1e-3;

struct Leaf {
    Body *body;
    Leaf *next;
};

struct Cell {
    Vector middle;
    double half;
    Vector centre; // of mass
    double mass = 0;
    unsigned bodies = 0;
    Leaf *leaves = nullptr; // unless it is divided
    std::array<Cell *, 8> *parts = nullptr;

    Cell(Vector middle, double half) : middle(middle), half(half) {}
    ~Cell() {
        for (Leaf *leaf = leaves; leaf;) {
            Leaf *next = leaf->next;
            delete leaf;
            leaf = next;
        }
        if (!parts) return;
        for (Cell *part : *parts) delete part;
        delete parts;
    }

    void insert(Leaf *leaf) {
        bodies++;
        if (!parts && (bodies <= group_size || half < 1e-9)) {
            leaf->next = leaves;
            leaves = leaf;
            return;
        }
        if (!parts) {
            parts = new std::array<Cell *, 8>();
            while (Leaf *first = leaves) {
                leaves = first->next;
                part_for(first).insert(first);
            }
        }
        part_for(leaf).insert(leaf);
    }

    void weigh() {
        Vector moment;
        auto add = [&](double m, Vector at) {
            mass += m;
            moment = moment + at * m;
        };
        for (Leaf *leaf = leaves; leaf; leaf = leaf->next) add(leaf->body->mass, leaf->body->position);
        if (parts) {
            for (Cell *part : *parts) {
                if (!part) continue;
                part->weigh();
                add(part->mass, part->centre);
            }
        }
        centre = moment * (1 / mass);
    }

  private:
    Cell &part_for(Leaf *leaf) {
        Vector p = leaf->body->position;
        unsigned index = (p.x >= middle.x) | (p.y >= middle.y) << 1 | (p.z >= middle.z) << 2;
        Cell *&part = (*parts)[index];
        if (!part) {
            double quarter = half / 2;
            Vector offset{index & 1 ? quarter : -quarter, index & 2 ? quarter : -quarter,
                          index & 4 ? quarter : -quarter};
            part = new Cell(middle + offset, quarter);
        }
        return *part;
    }
};

// What acts on a group: bodies, and cells as if they were bodies.
struct Action {
    Vector from;
    double mass;
    Action *next;
};

class System {
  public:
    System(std::uint64_t seed, unsigned count) {
        Random random(seed);
        auto coordinate = [&random] { return (random.next() >> 11) * 0x1p-53 * 2 - 1; };
        while (bodies.size() < count) {
            Vector at;
            at.x = coordinate();
            at.y = coordinate();
            at.z = coordinate();
            double square = at.square();
            if (square > 1 || square < 1e-6) continue;
            // A ball that is denser in its middle and turns around z.
            bodies.push_back({at * std::sqrt(square), Vector{-at.y, at.x, 0}, 1.0 / count});
        }
    }

    void move() {
        double half = 0;
        for (Body &body : bodies)
            for (double coordinate : {body.position.x, body.position.y, body.position.z})
                half = std::max(half, std::fabs(coordinate));
        Cell *root = new Cell(Vector(), half * 1.01);
        for (Body &body : bodies) root->insert(new Leaf{&body, nullptr});
        root->weigh();
        accelerate(*root, *root);
        delete root;
        for (Body &body : bodies) body.position = body.position + body.velocity * step;
    }

    std::uint64_t value() const {
        Checksum sum;
        for (const Body &body : bodies) {
            for (double coordinate : {body.position.x, body.position.y, body.position.z}) {
                std::uint64_t bits;
                std::memcpy(&bits, &coordinate, sizeof bits);
                sum.add(bits);
            }
        }
        return sum.value();
    }

  private:
    static void accelerate(Cell &cell, const Cell &root) {
        if (cell.parts) {
            for (Cell *part : *cell.parts)
                if (part) accelerate(*part, root);
            return;
        }
        Action *actions = nullptr;
        gather(root, cell, actions);
        for (Leaf *leaf = cell.leaves; leaf; leaf = leaf->next) {
            Vector force;
            for (const Action *action = actions; action; action = action->next) {
                Vector way = action->from - leaf->body->position;
                double square = way.square() + softening;
                force = force + way * (action->mass / (square * std::sqrt(square)));
            }
            leaf->body->velocity = leaf->body->velocity + force * step;
        }
        while (actions) {
            Action *next = actions->next;
            delete actions;
            actions = next;
        }
    }

    // Adds what `cell` does to the bodies of `group`, itself included: softening makes that nothing.
    static void gather(const Cell &cell, const Cell &group, Action *&actions) {
        double distance = std::sqrt((cell.centre - group.middle).square()) - group.half;
        if (distance > 0 && cell.half * 2 < opening * distance) {
            actions = new Action{cell.centre, cell.mass, actions};
            return;
        }
        for (Leaf *leaf = cell.leaves; leaf; leaf = leaf->next)
            actions = new Action{leaf->body->position, leaf->body->mass, actions};
        if (!cell.parts) return;
        for (Cell *part : *cell.parts)
            if (part) gather(*part, group, actions);
    }

    std::vector<Body> bodies;
};

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    const unsigned bodies = options.pick(1000u, 4000u, 12'000u);
    const unsigned steps = options.pick(2u, 8u, 18u);

    System system(23, bodies);
    for (unsigned i = 0; i < steps; i++) system.move();
    return finish("nbody", system.value());
}
