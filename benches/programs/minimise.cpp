// Two-level logic minimisation: expand, make irredundant, reduce, until nothing gets better.
//
// Allocation: a cube is a heap object of its literals (8–16 bytes), a cover a vector of cubes. Tests for tautology
// and complements are recursive: every level makes covers of cofactors, some of one cube, some of hundreds,
// and drops them when it returns. Lifetimes: mostly a level, in stack order; the covers of a function longer.
// One thread.
//
// The functions are the bits of products of two numbers, and random covers with unspecified points.
#include "program.hpp"

#include <algorithm>
#include <utility>
#include <vector>

using namespace program;

namespace {

using Word = std::uint64_t;
constexpr unsigned variables_a_word = 32;

// Two bits a variable: may it be 0, may it be 1. 01 and 10 are literals, 11 is neither, 00 makes the cube empty.
class Cube {
  public:
    explicit Cube(unsigned variables) : Cube(variables, new Word[words(variables)]) {
        for (unsigned i = 0; i < words(variables); i++) word[i] = mask(i);
    }
    Cube(const Cube &other) : Cube(other.variables, new Word[words(other.variables)]) {
        std::memcpy(word, other.word, words(variables) * sizeof(Word));
    }
    Cube(Cube &&other) noexcept : Cube(other.variables, std::exchange(other.word, nullptr)) {}
    Cube &operator=(Cube other) noexcept {
        std::swap(word, other.word);
        std::swap(variables, other.variables);
        return *this;
    }
    ~Cube() { delete[] word; }

    unsigned size() const { return variables; }
    unsigned get(unsigned v) const { return word[v / variables_a_word] >> v % variables_a_word * 2 & 3; }
    void set(unsigned v, Word part) {
        Word &at = word[v / variables_a_word];
        at = (at & ~(Word(3) << v % variables_a_word * 2)) | part << v % variables_a_word * 2;
    }
    Cube with(unsigned v, Word part) const {
        Cube cube = *this;
        cube.set(v, part);
        return cube;
    }

    bool full() const {
        for (unsigned i = 0; i < words(variables); i++)
            if (word[i] != mask(i)) return false;
        return true;
    }
    bool covers(const Cube &other) const {
        for (unsigned i = 0; i < words(variables); i++)
            if (other.word[i] & ~word[i]) return false;
        return true;
    }
    bool meets(const Cube &other) const {
        for (unsigned i = 0; i < words(variables); i++) {
            Word both = word[i] & other.word[i];
            if (((both | both >> 1) & even & mask(i)) != (even & mask(i))) return false;
        }
        return true;
    }
    unsigned literals() const {
        unsigned full_parts = 0;
        for (unsigned i = 0; i < words(variables); i++)
            full_parts += __builtin_popcountll(word[i] & word[i] >> 1 & even);
        return variables - full_parts;
    }

    friend Cube operator&(const Cube &a, const Cube &b) {
        Cube c = a;
        for (unsigned i = 0; i < words(c.variables); i++) c.word[i] &= b.word[i];
        return c;
    }
    friend Cube operator|(const Cube &a, const Cube &b) {
        Cube c = a;
        for (unsigned i = 0; i < words(c.variables); i++) c.word[i] |= b.word[i];
        return c;
    }
    // What is left of the cube where `at` holds.
    Cube cofactor(const Cube &at) const {
        Cube c = *this;
        for (unsigned i = 0; i < words(variables); i++) c.word[i] |= ~at.word[i] & mask(i);
        return c;
    }
    friend bool operator<(const Cube &a, const Cube &b) {
        return std::lexicographical_compare(a.word, a.word + words(a.variables), b.word, b.word + words(b.variables));
    }
    friend bool operator==(const Cube &a, const Cube &b) {
        return std::equal(a.word, a.word + words(a.variables), b.word);
    }
    void add_to(Checksum &sum) const {
        for (unsigned i = 0; i < words(variables); i++) sum.add(word[i]);
    }

  private:
    static constexpr Word even = 0x5555555555555555;

    Cube(unsigned variables, Word *word) : word(word), variables(variables) {}
    static unsigned words(unsigned variables) { return (variables + variables_a_word - 1) / variables_a_word; }
    // The bits of word i that belong to variables.
    Word mask(unsigned i) const {
        unsigned left = variables - i * variables_a_word;
        return left >= variables_a_word ? ~Word(0) : (Word(1) << left * 2) - 1;
    }

    Word *word;
    unsigned variables;
};

using Cover = std::vector<Cube>;

Cover cofactor(const Cover &cover, const Cube &at) {
    Cover left;
    for (const Cube &cube : cover)
        if (cube.meets(at)) left.push_back(cube.cofactor(at));
    return left;
}

// How often a variable occurs, and whether as both literals.
struct Use {
    unsigned variable = 0, least = 0, total = 0;
};

// The variable to branch on: the one with most literals of its rarer kind.
Use most_used(const Cover &cover) {
    Use best;
    for (unsigned v = 0; v < cover.front().size(); v++) {
        unsigned count[4] = {};
        for (const Cube &cube : cover) count[cube.get(v)]++;
        Use use{v, std::min(count[1], count[2]), count[1] + count[2]};
        if (std::make_pair(use.least, use.total) > std::make_pair(best.least, best.total)) best = use;
    }
    return best;
}

bool has_full(const Cover &cover) {
    return std::any_of(cover.begin(), cover.end(), [](const Cube &cube) { return cube.full(); });
}

bool tautology(const Cover &cover) {
    if (cover.empty()) return false;
    if (has_full(cover)) return true;
    Use use = most_used(cover);
    if (use.least == 0) return false; // a cover without opposite literals is one only if a cube is
    const Cube all(cover.front().size());
    return tautology(cofactor(cover, all.with(use.variable, 1))) &&
           tautology(cofactor(cover, all.with(use.variable, 2)));
}

Cover complement(const Cover &cover, unsigned variables) {
    const Cube all(variables);
    if (cover.empty()) return {all};
    if (has_full(cover)) return {};
    Cover result;
    if (cover.size() == 1) { // by De Morgan
        for (unsigned v = 0; v < variables; v++)
            if (cover[0].get(v) != 3) result.push_back(all.with(v, 3 ^ cover[0].get(v)));
        return result;
    }
    const unsigned v = most_used(cover).variable;
    Cover low = complement(cofactor(cover, all.with(v, 1)), variables);
    Cover high = complement(cofactor(cover, all.with(v, 2)), variables);
    // What is in both halves does not depend on the variable.
    std::sort(low.begin(), low.end());
    std::sort(high.begin(), high.end());
    auto l = low.begin(), h = high.begin();
    while (l != low.end() || h != high.end()) {
        if (h == high.end() || (l != low.end() && *l < *h)) result.push_back((l++)->with(v, 1));
        else if (l == low.end() || *h < *l) result.push_back((h++)->with(v, 2));
        else {
            result.push_back(std::move(*l++));
            h++;
        }
    }
    return result;
}

void drop_covered(Cover &cover) {
    Cover kept;
    std::stable_sort(cover.begin(), cover.end(),
                     [](const Cube &a, const Cube &b) { return a.literals() < b.literals(); });
    for (Cube &cube : cover) {
        auto covers = [&cube](const Cube &other) { return other.covers(cube); };
        if (std::none_of(kept.begin(), kept.end(), covers)) kept.push_back(std::move(cube));
    }
    cover = std::move(kept);
}

// Drops literals of each cube as long as it stays clear of what is off.
Cover expand(const Cover &cover, const Cover &off) {
    Cover result;
    for (const Cube &cube : cover) {
        auto covers = [&cube](const Cube &other) { return other.covers(cube); };
        if (std::any_of(result.begin(), result.end(), covers)) continue;
        Cube grown = cube;
        for (unsigned v = 0; v < cube.size(); v++) {
            if (grown.get(v) == 3) continue;
            Cube wider = grown.with(v, 3);
            auto meets = [&wider](const Cube &other) { return wider.meets(other); };
            if (std::none_of(off.begin(), off.end(), meets)) grown = std::move(wider);
        }
        result.push_back(std::move(grown));
    }
    drop_covered(result);
    return result;
}

// The cover without its cube `i`, with the unspecified points, where that cube holds.
Cover others(const Cover &cover, std::size_t i, const Cover &unspecified) {
    Cover rest;
    for (std::size_t j = 0; j < cover.size(); j++)
        if (j != i) rest.push_back(cover[j]);
    rest.insert(rest.end(), unspecified.begin(), unspecified.end());
    return cofactor(rest, cover[i]);
}

void make_irredundant(Cover &cover, const Cover &unspecified) {
    for (std::size_t i = cover.size(); i-- > 0;)
        if (tautology(others(cover, i, unspecified))) cover.erase(cover.begin() + i);
}

// Shrinks each cube to what only it covers.
void reduce(Cover &cover, const Cover &unspecified) {
    for (std::size_t i = 0; i < cover.size(); i++) {
        const Cover own = complement(others(cover, i, unspecified), cover[i].size());
        if (own.empty()) continue;
        Cube hull = own.front();
        for (const Cube &cube : own) hull = hull | cube;
        cover[i] = cover[i] & hull;
    }
}

std::pair<std::size_t, std::size_t> cost(const Cover &cover) {
    std::size_t literals = 0;
    for (const Cube &cube : cover) literals += cube.literals();
    return {cover.size(), literals};
}

Cover minimise(const Cover &on, const Cover &unspecified, unsigned variables) {
    Cover all = on;
    all.insert(all.end(), unspecified.begin(), unspecified.end());
    const Cover off = complement(all, variables);
    Cover best = expand(on, off);
    make_irredundant(best, unspecified);
    for (Cover next = best;; best = next) {
        reduce(next, unspecified);
        next = expand(next, off);
        make_irredundant(next, unspecified);
        if (!(cost(next) < cost(best))) return best;
    }
}

Cube point(std::uint64_t bits, unsigned variables) {
    Cube cube(variables);
    for (unsigned v = 0; v < variables; v++) cube.set(v, bits >> v & 1 ? 2 : 1);
    return cube;
}

bool holds(const Cover &cover, const Cube &at) {
    return std::any_of(cover.begin(), cover.end(), [&at](const Cube &cube) { return cube.covers(at); });
}

// The points at which bit `bit` of the product of two numbers of `width` bits is set.
Cover product_bit(unsigned width, unsigned bit) {
    Cover on;
    for (std::uint64_t a = 0; a < 1u << width; a++)
        for (std::uint64_t b = 0; b < 1u << width; b++)
            if (a * b >> bit & 1) on.push_back(point(a | b << width, 2 * width));
    return on;
}

Cover random_cover(Random &random, unsigned variables, unsigned cubes, unsigned literals) {
    Cover cover;
    for (unsigned i = 0; i < cubes; i++) {
        Cube &cube = cover.emplace_back(variables);
        for (unsigned l = 0; l < literals; l++) cube.set(random.below(variables), 1 + random.below(2));
    }
    return cover;
}

class Run {
  public:
    // Minimises, and compares the result with the function at random points.
    void function(const Cover &on, const Cover &unspecified, unsigned variables) {
        const Cover minimal = minimise(on, unspecified, variables);
        for (unsigned i = 0; i < 200; i++) {
            const Cube at = point(random.next(), variables);
            if (holds(unspecified, at)) continue;
            require(holds(on, at) == holds(minimal, at), "minimise: another function");
        }
        sum.add(minimal.size());
        for (const Cube &cube : minimal) cube.add_to(sum);
    }

    void products(unsigned width) {
        for (unsigned bit = 0; bit < 2 * width; bit++) function(product_bit(width, bit), {}, 2 * width);
    }
    void random_functions(unsigned count, unsigned variables, unsigned cubes, unsigned literals) {
        for (unsigned i = 0; i < count; i++) {
            const Cover on = random_cover(random, variables, cubes, literals);
            function(on, random_cover(random, variables, cubes / 8, literals), variables);
        }
    }

    std::uint64_t value() const { return sum.value(); }

  private:
    Random random{29};
    Checksum sum;
};

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    Run run;
    run.products(options.pick(3u, 5u, 6u));
    run.random_functions(options.pick(1u, 2u, 4u), 12, options.pick(20u, 40u, 60u), 6);
    run.random_functions(options.pick(1u, 1u, 2u), 40, options.pick(10u, 14u, 19u), 6);
    return finish("minimise", run.value());
}
