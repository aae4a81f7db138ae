// Factoring by continued fractions, in arbitrary precision.
//
// Allocation: every number is a heap object of its limbs (8–40 bytes), every operation allocates its result and
// the temporaries end with the expression; rows of the matrix over GF(2) are vectors of some 100 bytes, made anew
// by every addition of two. Lifetimes: a few operations, apart from the relations found, which are kept. One thread.
//
// The expansion of √N gives A² ≡ ±Q (mod N) with Q below 2√N. Where Q has only small prime factors, it is a
// relation; a product of relations in which all exponents are even gives X² ≡ Y², and gcd(X − Y, N) a factor.
#include "program.hpp"

#include <algorithm>
#include <utility>
#include <vector>

using namespace program;

namespace {

// A natural number; zero has no limbs, and no object.
class Natural {
  public:
    Natural() = default;
    Natural(std::uint64_t value) {
        if (!value) return;
        *this = with_limbs(value >> 32 ? 2 : 1);
        limbs->limb[0] = static_cast<std::uint32_t>(value);
        if (value >> 32) limbs->limb[1] = static_cast<std::uint32_t>(value >> 32);
    }
    explicit Natural(const char *decimal) {
        for (; *decimal; decimal++) *this = *this * Natural(10) + Natural(*decimal - '0');
    }
    Natural(const Natural &other) {
        if (!other.limbs) return;
        *this = with_limbs(other.length());
        std::memcpy(limbs->limb, other.limbs->limb, length() * sizeof(std::uint32_t));
    }
    Natural(Natural &&other) noexcept : limbs(std::exchange(other.limbs, nullptr)) {}
    Natural &operator=(Natural other) noexcept {
        std::swap(limbs, other.limbs);
        return *this;
    }
    ~Natural() { std::free(limbs); }

    bool zero() const { return !limbs; }
    // The low 64 bits.
    std::uint64_t low() const { return at(0) | std::uint64_t(at(1)) << 32; }

    friend int compare(const Natural &a, const Natural &b) {
        if (a.length() != b.length()) return a.length() < b.length() ? -1 : 1;
        for (std::uint32_t i = a.length(); i-- > 0;)
            if (a.at(i) != b.at(i)) return a.at(i) < b.at(i) ? -1 : 1;
        return 0;
    }
    friend bool operator==(const Natural &a, const Natural &b) { return compare(a, b) == 0; }
    friend bool operator<(const Natural &a, const Natural &b) { return compare(a, b) < 0; }

    friend Natural operator+(const Natural &a, const Natural &b) {
        Natural sum = with_limbs(std::max(a.length(), b.length()) + 1);
        std::uint64_t carry = 0;
        for (std::uint32_t i = 0; i < sum.length(); i++) {
            carry += std::uint64_t(a.at(i)) + b.at(i);
            sum.limbs->limb[i] = static_cast<std::uint32_t>(carry);
            carry >>= 32;
        }
        return sum.trimmed();
    }
    // Of a number that is not larger.
    friend Natural operator-(const Natural &a, const Natural &b) {
        Natural difference = with_limbs(a.length());
        std::int64_t borrow = 0;
        for (std::uint32_t i = 0; i < a.length(); i++) {
            borrow += std::int64_t(a.at(i)) - b.at(i);
            difference.limbs->limb[i] = static_cast<std::uint32_t>(borrow);
            borrow >>= 32;
        }
        require(borrow == 0, "factor: a negative number");
        return difference.trimmed();
    }
    friend Natural operator*(const Natural &a, const Natural &b) {
        if (a.zero() || b.zero()) return Natural();
        Natural product = with_limbs(a.length() + b.length());
        std::uint32_t *to = product.limbs->limb;
        std::fill(to, to + product.length(), 0);
        for (std::uint32_t i = 0; i < a.length(); i++) {
            std::uint64_t carry = 0;
            for (std::uint32_t j = 0; j < b.length(); j++) {
                carry += std::uint64_t(a.at(i)) * b.at(j) + to[i + j];
                to[i + j] = static_cast<std::uint32_t>(carry);
                carry >>= 32;
            }
            to[i + b.length()] = static_cast<std::uint32_t>(carry);
        }
        return product.trimmed();
    }
    friend Natural operator/(const Natural &a, const Natural &b) {
        Natural quotient;
        divide(a, b, &quotient);
        return quotient;
    }
    friend Natural operator%(const Natural &a, const Natural &b) { return divide(a, b, nullptr); }

  private:
    struct Limbs {
        std::uint32_t length; // never 0
        std::uint32_t limb[]; // lowest first; the highest is not 0
    };

    static Natural with_limbs(std::uint32_t length) {
        Natural made;
        if (!length) return made;
        made.limbs = static_cast<Limbs *>(std::malloc(sizeof(Limbs) + length * sizeof(std::uint32_t)));
        made.limbs->length = length;
        return made;
    }
    std::uint32_t length() const { return limbs ? limbs->length : 0; }
    std::uint32_t at(std::uint32_t i) const { return i < length() ? limbs->limb[i] : 0; }

    Natural trimmed() {
        while (limbs && !limbs->limb[limbs->length - 1]) {
            if (--limbs->length == 0) *this = Natural();
        }
        return std::move(*this);
    }
    Natural shifted_left(unsigned bits, std::uint32_t length) const {
        Natural made = with_limbs(length);
        for (std::uint32_t i = 0; i < length; i++) {
            std::uint64_t both = std::uint64_t(at(i)) << 32 | (i ? at(i - 1) : 0);
            made.limbs->limb[i] = static_cast<std::uint32_t>(both >> (32 - bits));
        }
        return made;
    }

    // The remainder, and the quotient if it is asked for. By the schoolbook, with the divisor shifted so that its
    // highest bit is set: then a quotient limb guessed from the two highest limbs is too large by 2 at most.
    static Natural divide(const Natural &a, const Natural &b, Natural *quotient) {
        require(!b.zero(), "factor: a division by zero");
        if (a < b) return a;
        if (quotient) *quotient = with_limbs(a.length() - b.length() + 1);
        if (b.length() == 1) {
            std::uint64_t rest = 0;
            for (std::uint32_t i = a.length(); i-- > 0;) {
                rest = rest << 32 | a.at(i);
                if (quotient) quotient->limbs->limb[i] = static_cast<std::uint32_t>(rest / b.at(0));
                rest %= b.at(0);
            }
            if (quotient) quotient->trimmed_in_place();
            return Natural(rest);
        }
        const std::uint32_t n = b.length();
        const unsigned shift = __builtin_clz(b.at(n - 1));
        Natural rest = a.shifted_left(shift, a.length() + 1);
        const Natural divisor = b.shifted_left(shift, n);
        std::uint32_t *u = rest.limbs->limb;
        const std::uint32_t *v = divisor.limbs->limb;
        for (std::uint32_t j = a.length() - n + 1; j-- > 0;) {
            const std::uint64_t top = std::uint64_t(u[j + n]) << 32 | u[j + n - 1];
            std::uint64_t guess = top / v[n - 1], left = top % v[n - 1];
            while (guess >> 32 || guess * v[n - 2] > (left << 32 | u[j + n - 2])) {
                guess--;
                left += v[n - 1];
                if (left >> 32) break;
            }
            std::int64_t borrow = 0;
            std::uint64_t carry = 0;
            for (std::uint32_t i = 0; i <= n; i++) {
                carry += guess * (i < n ? v[i] : 0);
                borrow += std::int64_t(u[i + j]) - static_cast<std::uint32_t>(carry);
                u[i + j] = static_cast<std::uint32_t>(borrow);
                borrow >>= 32;
                carry >>= 32;
            }
            if (borrow < 0) { // one too large after all
                guess--;
                carry = 0;
                for (std::uint32_t i = 0; i <= n; i++) {
                    carry += std::uint64_t(u[i + j]) + (i < n ? v[i] : 0);
                    u[i + j] = static_cast<std::uint32_t>(carry);
                    carry >>= 32;
                }
            }
            if (quotient) quotient->limbs->limb[j] = static_cast<std::uint32_t>(guess);
        }
        for (std::uint32_t i = 0; i < n; i++) {
            std::uint64_t both = std::uint64_t(u[i + 1]) << 32 | u[i];
            u[i] = static_cast<std::uint32_t>(both >> shift);
        }
        rest.limbs->length = n;
        if (quotient) quotient->trimmed_in_place();
        return rest.trimmed();
    }
    void trimmed_in_place() { *this = trimmed(); }

    Limbs *limbs = nullptr;
};

// ⌊√n⌋ by Newton's iteration from above.
Natural root(const Natural &n) {
    Natural guess = n;
    for (;;) {
        Natural next = (guess + n / guess) / 2;
        if (!(next < guess)) return guess;
        guess = next;
    }
}

Natural gcd(Natural a, Natural b) {
    while (!b.zero()) a = std::exchange(b, a % b);
    return a;
}

Natural power(Natural base, std::uint64_t exponent, const Natural &modulus) {
    Natural result = 1;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) result = result * base % modulus;
        base = base * base % modulus;
    }
    return result;
}

// The primes that can divide a Q: those modulo which N is a square.
std::vector<Natural> factor_base(const Natural &n, std::size_t count) {
    std::vector<Natural> base{2};
    for (std::uint64_t p = 3; base.size() < count; p += 2) {
        bool prime = true;
        for (std::uint64_t d = 3; d * d <= p && prime; d += 2) prime = p % d;
        if (prime && power(n % p, (p - 1) / 2, p) == 1) base.push_back(p);
    }
    return base;
}

struct Relation {
    Natural a;
    std::vector<std::uint8_t> exponents; // of −1 first, then of the factor base
};

// Bits of exponents, then bits of the relations in the sum.
using Row = std::vector<std::uint64_t>;

bool bit(const Row &row, std::size_t i) { return row[i / 64] >> i % 64 & 1; }

Row sum(const Row &a, const Row &b) {
    Row c(a.size());
    for (std::size_t i = 0; i < c.size(); i++) c[i] = a[i] ^ b[i];
    return c;
}

class Factoring {
  public:
    Factoring(Natural number, std::size_t primes)
        : n(std::move(number)), base(factor_base(n, primes)), columns(primes + 1), pivots(columns) {}

    Natural run() {
        const Natural g = root(n);
        Natural a = g, a_before = 1, p = g, q_before = 1, q = n - g * g;
        for (bool negative = true;; negative = !negative) {
            if (Natural found = collect(a, q, negative); !found.zero()) return found;
            const Natural term = (g + p) / q;
            Natural p_next = term * q - p;
            Natural q_next = q_before + term * p - term * p_next;
            q_before = std::exchange(q, std::move(q_next));
            p = std::move(p_next);
            a_before = std::exchange(a, (term * a + a_before) % n);
        }
    }

    std::size_t relation_count() const { return relations.size(); }

  private:
    // Takes a² ≡ ±q in if it is a relation. A factor if that makes one, else zero.
    Natural collect(const Natural &a, Natural q, bool negative) {
        std::vector<std::uint8_t> exponents(columns);
        exponents[0] = negative;
        const Natural start = q;
        for (std::size_t i = 0; i < base.size() && !(q == 1); i++) {
            while ((q % base[i]).zero()) {
                q = q / base[i];
                exponents[i + 1]++;
            }
            // Few numbers that lost little to the first primes lose the rest to the others.
            if (i == 15 && start < q * 64) return Natural();
        }
        if (!(q == 1)) return Natural();
        relations.push_back({a, std::move(exponents)});
        return eliminate();
    }

    // Adds the newest relation to the matrix.
    Natural eliminate() {
        const std::size_t newest = relations.size() - 1;
        Row row((columns + 2 * columns) / 64 + 1);
        for (std::size_t i = 0; i < columns; i++)
            row[i / 64] |= std::uint64_t(relations[newest].exponents[i] & 1) << i % 64;
        row.at((columns + newest) / 64) |= std::uint64_t(1) << (columns + newest) % 64;
        for (std::size_t i = 0; i < columns; i++) {
            if (!bit(row, i)) continue;
            if (pivots[i].empty()) {
                pivots[i] = std::move(row);
                return Natural();
            }
            row = sum(row, pivots[i]);
        }
        return square(row);
    }

    // The factor, if it is one, from relations whose product is a square.
    Natural square(const Row &row) {
        Natural x = 1, y = 1;
        std::vector<unsigned> total(columns);
        for (std::size_t r = 0; r < relations.size(); r++) {
            if (!bit(row, columns + r)) continue;
            x = x * relations[r].a % n;
            for (std::size_t i = 0; i < columns; i++) total[i] += relations[r].exponents[i];
        }
        for (std::size_t i = 1; i < columns; i++) y = y * power(base[i - 1], total[i] / 2, n) % n;
        Natural factor = gcd(x < y ? y - x : x - y, n);
        return factor == 1 || factor == n ? Natural() : factor;
    }

    Natural n;
    std::vector<Natural> base;
    std::size_t columns;
    std::vector<Row> pivots;
    std::vector<Relation> relations;
};

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    // Products of two primes of about the same size, and the number of primes in the factor base.
    struct Task {
        const char *number;
        std::size_t primes;
    };
    const std::vector<Task> tasks = options.pick<std::vector<Task>>(
        {{"99476527470263", 60}, {"434966447508662926663", 120}},
        {{"520709988608955503982101", 150}, {"663096528610721785908611149", 200}},
        {{"585696135235159466601113787017", 250}, {"259275195796332661552073116202081", 350}});
    Checksum checksum;
    for (Task task : tasks) {
        const Natural n(task.number);
        Factoring factoring(n, task.primes);
        const Natural factor = factoring.run();
        const Natural other = n / factor;
        require(factor * other == n && !(factor == 1) && !(factor == n), "factor: no factor");
        checksum.add(std::min(factor, other).low());
        checksum.add(factoring.relation_count());
    }
    return finish("factor", checksum.value());
}
