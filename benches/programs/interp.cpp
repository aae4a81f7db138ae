// An interpreter of a small Scheme, running small programs: the naive Fibonacci function, a sieve, queens on a
// board, symbolic derivatives, string building, merge sort.
//
// Allocation: every value, numbers too, is a reference-counted cell of 16–56 bytes, every call has an environment
// frame and a vector of its arguments. Lifetimes: most end within the call, LIFO-like; lists live longer; the
// parsed program to the end. One thread.
//
// Only global functions can recur, and globals are not part of any environment: so there are no cycles of cells,
// and everything is freed.
#include "program.hpp"

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

using namespace program;

namespace {

enum class Kind : std::uint32_t { integer, symbol, string, pair, vector, frame, closure, primitive };

struct Cell {
    Kind kind;
    std::uint32_t references = 0;
};

void destroy(Cell *cell);

// A counted reference to a cell; null is the empty list, and false.
class Ref {
  public:
    Ref() = default;
    Ref(Cell *cell) : cell(cell) {
        if (cell) cell->references++;
    }
    Ref(const Ref &other) : Ref(other.cell) {}
    Ref(Ref &&other) noexcept : cell(std::exchange(other.cell, nullptr)) {}
    ~Ref() {
        if (cell && --cell->references == 0) destroy(cell);
    }
    Ref &operator=(Ref other) noexcept {
        std::swap(cell, other.cell);
        return *this;
    }
    explicit operator bool() const { return cell; }
    bool operator==(const Ref &other) const { return cell == other.cell; }
    bool is(Kind kind) const { return cell && cell->kind == kind; }
    bool sole() const { return cell->references == 1; }

    // The cell, which must be of type T.
    template <class T> T &as() const {
        require(is(T::tag), "interp: a value of the wrong kind");
        return *static_cast<T *>(cell);
    }

  private:
    Cell *cell = nullptr;
};

template <Kind k> struct Tagged : Cell {
    static constexpr Kind tag = k;
    Tagged() : Cell{k} {}
};

struct Integer : Tagged<Kind::integer> {
    explicit Integer(std::int64_t value) : value(value) {}
    std::int64_t value;
};
struct String : Tagged<Kind::string> {
    explicit String(std::string text) : text(std::move(text)) {}
    std::string text;
};
struct Pair : Tagged<Kind::pair> {
    Pair(Ref first, Ref rest) : first(std::move(first)), rest(std::move(rest)) {}
    Ref first, rest;
};
struct Vector : Tagged<Kind::vector> {
    std::vector<Ref> items;
};
// The values of a call's or a let's variables, beside the list of their names.
struct Frame : Tagged<Kind::frame> {
    Frame(Ref names, std::vector<Ref> values, Ref outer)
        : names(std::move(names)), values(std::move(values)), outer(std::move(outer)) {}
    Ref names;
    std::vector<Ref> values;
    Ref outer;
};
struct Closure : Tagged<Kind::closure> {
    Closure(Ref names, Ref body, Ref frame)
        : names(std::move(names)), body(std::move(body)), frame(std::move(frame)) {}
    Ref names, body, frame;
};
using Arguments = std::vector<Ref>;
struct Primitive : Tagged<Kind::primitive> {
    explicit Primitive(Ref (*function)(Arguments &)) : function(function) {}
    Ref (*function)(Arguments &);
};
enum class Form { none, quote, if_, define, lambda, let, begin, set, and_, or_ };
struct Symbol : Tagged<Kind::symbol> {
    explicit Symbol(std::string name) : name(std::move(name)) {}
    std::string name;
    Ref global;
    Form form = Form::none;
};

void destroy(Cell *cell) {
    switch (cell->kind) {
    case Kind::integer: delete static_cast<Integer *>(cell); break;
    case Kind::symbol: delete static_cast<Symbol *>(cell); break;
    case Kind::string: delete static_cast<String *>(cell); break;
    case Kind::pair: {
        // A list is as long as memory allows: its pairs one after the other, not one within the other.
        Ref rest = std::move(static_cast<Pair *>(cell)->rest);
        delete static_cast<Pair *>(cell);
        while (rest.is(Kind::pair) && rest.sole()) {
            Ref next = std::move(rest.as<Pair>().rest);
            rest = std::move(next);
        }
        break;
    }
    case Kind::vector: delete static_cast<Vector *>(cell); break;
    case Kind::frame: delete static_cast<Frame *>(cell); break;
    case Kind::closure: delete static_cast<Closure *>(cell); break;
    case Kind::primitive: delete static_cast<Primitive *>(cell); break;
    }
}

Ref integer(std::int64_t value) { return new Integer(value); }
Ref string(std::string text) { return new String(std::move(text)); }
Ref pair(Ref first, Ref rest) { return new Pair(std::move(first), std::move(rest)); }
const Ref &first(const Ref &list) { return list.as<Pair>().first; }
const Ref &rest(const Ref &list) { return list.as<Pair>().rest; }
std::int64_t number(const Ref &value) { return value.as<Integer>().value; }

class Interpreter {
  public:
    Interpreter();
    ~Interpreter() {
        for (auto &[name, symbol] : symbols) symbol.as<Symbol>().global = Ref();
    }

    // Evaluates every expression of the text; the value of the last one.
    Ref run(const std::string &text) {
        Ref value;
        const char *at = text.c_str();
        for (skip(at); *at; skip(at)) value = eval(read(at), Ref());
        return value;
    }

  private:
    Ref intern(const std::string &name) {
        Ref &symbol = symbols[name];
        if (!symbol) symbol = new Symbol(name);
        return symbol;
    }
    void define(const char *name, Ref (*function)(Arguments &)) {
        intern(name).as<Symbol>().global = new Primitive(function);
    }

    static void skip(const char *&at) {
        while (*at == ' ' || *at == '\n' || *at == ';') {
            if (*at == ';') while (*at && *at != '\n') at++;
            else at++;
        }
    }
    Ref read(const char *&at);
    Ref read_list(const char *&at);
    static Ref *find(Symbol &symbol, const Ref &name, const Ref &frame);
    Ref eval(Ref expression, Ref frame);
    Ref body(const Ref &expressions, const Ref &frame);

    std::unordered_map<std::string, Ref> symbols;
};

Ref Interpreter::read(const char *&at) {
    skip(at);
    if (*at == '(') return read_list(++at);
    if (*at == '\'') {
        at++;
        Ref quoted = read(at);
        return pair(intern("quote"), pair(quoted, Ref()));
    }
    const char *begin = at;
    if (*at == '"') {
        while (*++at != '"') require(*at, "interp: a string has no end");
        at++;
        return string(std::string(begin + 1, at - 1));
    }
    while (*at && !std::strchr(" \n();\"", *at)) at++;
    std::string token(begin, at);
    require(!token.empty(), "interp: an unexpected parenthesis");
    char *end;
    long long value = std::strtoll(token.c_str(), &end, 10);
    return *end ? intern(token) : integer(value);
}

Ref Interpreter::read_list(const char *&at) {
    std::vector<Ref> items;
    for (skip(at); *at != ')'; skip(at)) {
        require(*at, "interp: a list has no end");
        items.push_back(read(at));
    }
    at++;
    Ref list;
    for (; !items.empty(); items.pop_back()) list = pair(items.back(), list);
    return list;
}

// Where the variable's value is: in the innermost frame that has the name, or else in the symbol.
Ref *Interpreter::find(Symbol &symbol, const Ref &name, const Ref &frame) {
    for (const Ref *at = &frame; *at;) {
        Frame &here = at->as<Frame>();
        std::size_t i = 0;
        for (const Ref *names = &here.names; *names; names = &rest(*names), i++)
            if (first(*names) == name) return &here.values[i];
        at = &here.outer;
    }
    return &symbol.global;
}

// Evaluates all expressions but the last one, which it returns for a tail call.
Ref Interpreter::body(const Ref &expressions, const Ref &frame) {
    const Ref *at = &expressions;
    for (; rest(*at); at = &rest(*at)) eval(first(*at), frame);
    return first(*at);
}

Ref Interpreter::eval(Ref expression, Ref frame) {
    for (;;) {
        if (expression.is(Kind::symbol)) return *find(expression.as<Symbol>(), expression, frame);
        if (!expression.is(Kind::pair)) return expression;
        const Ref head = first(expression);
        const Ref operands = rest(expression);
        switch (head.is(Kind::symbol) ? head.as<Symbol>().form : Form::none) {
        case Form::quote: return first(operands);
        case Form::if_: {
            const Ref &branches = rest(operands);
            if (eval(first(operands), frame)) expression = first(branches);
            else if (rest(branches)) expression = first(rest(branches));
            else return Ref();
            continue;
        }
        case Form::define: { // (define name value), (define (name . parameters) body …)
            const Ref &target = first(operands);
            if (target.is(Kind::pair))
                first(target).as<Symbol>().global = new Closure(rest(target), rest(operands), frame);
            else
                target.as<Symbol>().global = eval(first(rest(operands)), frame);
            return target;
        }
        case Form::lambda: return new Closure(first(operands), rest(operands), frame);
        case Form::let: {
            Ref names;
            std::vector<Ref> values;
            for (const Ref *at = &first(operands); *at; at = &rest(*at)) {
                values.insert(values.begin(), eval(first(rest(first(*at))), frame));
                names = pair(first(first(*at)), names);
            }
            frame = new Frame(names, std::move(values), frame);
            expression = body(rest(operands), frame);
            continue;
        }
        case Form::begin: expression = body(operands, frame); continue;
        case Form::set: {
            Ref value = eval(first(rest(operands)), frame);
            *find(first(operands).as<Symbol>(), first(operands), frame) = value;
            return value;
        }
        case Form::and_:
        case Form::or_: {
            const bool stop = head.as<Symbol>().form == Form::or_;
            const Ref *at = &operands;
            for (; rest(*at); at = &rest(*at)) {
                Ref value = eval(first(*at), frame);
                if (bool(value) == stop) return value;
            }
            expression = first(*at);
            continue;
        }
        case Form::none: break;
        }
        Ref function = eval(head, frame);
        Arguments arguments;
        for (const Ref *at = &operands; *at; at = &rest(*at)) arguments.push_back(eval(first(*at), frame));
        if (function.is(Kind::primitive)) return function.as<Primitive>().function(arguments);
        Closure &closure = function.as<Closure>();
        frame = new Frame(closure.names, std::move(arguments), closure.frame);
        expression = body(closure.body, frame);
    }
}

Ref truth(bool value) { return value ? integer(1) : Ref(); }

Interpreter::Interpreter() {
    static constexpr std::pair<const char *, Form> forms[] = {
        {"quote", Form::quote}, {"if", Form::if_},     {"define", Form::define},
        {"let", Form::let},     {"begin", Form::begin}, {"lambda", Form::lambda},
        {"set!", Form::set},    {"and", Form::and_},   {"or", Form::or_}};
    for (auto [name, form] : forms) intern(name).as<Symbol>().form = form;

    define("+", [](Arguments &a) { return integer(number(a.at(0)) + number(a.at(1))); });
    define("-", [](Arguments &a) { return integer(number(a.at(0)) - number(a.at(1))); });
    define("*", [](Arguments &a) { return integer(number(a.at(0)) * number(a.at(1))); });
    define("remainder", [](Arguments &a) { return integer(number(a.at(0)) % number(a.at(1))); });
    define("=", [](Arguments &a) { return truth(number(a.at(0)) == number(a.at(1))); });
    define("<", [](Arguments &a) { return truth(number(a.at(0)) < number(a.at(1))); });
    define("eq?", [](Arguments &a) { return truth(a.at(0) == a.at(1)); });
    define("not", [](Arguments &a) { return truth(!a.at(0)); });
    define("pair?", [](Arguments &a) { return truth(a.at(0).is(Kind::pair)); });
    define("symbol?", [](Arguments &a) { return truth(a.at(0).is(Kind::symbol)); });
    define("cons", [](Arguments &a) { return pair(a.at(0), a.at(1)); });
    define("car", [](Arguments &a) { return first(a.at(0)); });
    define("cdr", [](Arguments &a) { return rest(a.at(0)); });
    define("list", [](Arguments &a) {
        Ref list;
        for (; !a.empty(); a.pop_back()) list = pair(a.back(), list);
        return list;
    });
    define("make-vector", [](Arguments &a) {
        auto *vector = new Vector;
        vector->items.assign(number(a.at(0)), a.at(1));
        return Ref(vector);
    });
    define("vector-ref", [](Arguments &a) { return a.at(0).as<Vector>().items.at(number(a.at(1))); });
    define("vector-set!", [](Arguments &a) { return a.at(0).as<Vector>().items.at(number(a.at(1))) = a.at(2); });
    define("string-append", [](Arguments &a) {
        return string(a.at(0).as<String>().text + a.at(1).as<String>().text);
    });
    define("string-length", [](Arguments &a) { return integer(a.at(0).as<String>().text.size()); });
    define("substring", [](Arguments &a) {
        std::int64_t begin = number(a.at(1));
        return string(a.at(0).as<String>().text.substr(begin, number(a.at(2)) - begin));
    });
    define("number->string", [](Arguments &a) { return string(std::to_string(number(a.at(0)))); });
    define("symbol->string", [](Arguments &a) { return string(a.at(0).as<Symbol>().name); });
}

const char *const library = R"scheme(
(define (fold f start items)
  (if items (fold f (f start (car items)) (cdr items)) start))
(define (reverse items) (fold (lambda (tail item) (cons item tail)) '() items))
(define (map f items) (reverse (fold (lambda (tail item) (cons (f item) tail)) '() items)))
(define (filter keep items)
  (reverse (fold (lambda (tail item) (if (keep item) (cons item tail) tail)) '() items)))
(define (append front back) (fold (lambda (tail item) (cons item tail)) back (reverse front)))
(define (range low high) (range-before low high '()))
(define (range-before low high tail)
  (if (< low high) (range-before low (- high 1) (cons (- high 1) tail)) tail))
(define (length items) (fold (lambda (count item) (+ count 1)) 0 items))
(define (sum items) (fold + 0 items))
)scheme";

const char *const programs = R"scheme(
(define (fib n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2)))))

; Primes below the limit, in a vector of flags.
(define (cross-out flags step at limit)
  (if (< at limit) (begin (vector-set! flags at '()) (cross-out flags step (+ at step) limit))))
(define (sieve limit)
  (let ((flags (make-vector limit 1)))
    (fold (lambda (found n)
            (if (vector-ref flags n)
                (begin (cross-out flags n (* n n) limit) (cons n found))
                found))
          '() (range 2 limit))))

; The number of ways to put queens on the columns that are left.
(define (safe? row distance placed)
  (if placed
      (let ((other (car placed)))
        (and (not (= other row)) (not (= other (+ row distance))) (not (= other (- row distance)))
             (safe? row (+ distance 1) (cdr placed))))
      1))
(define (queens left size placed)
  (if (= left 0)
      1
      (sum (map (lambda (row) (queens (- left 1) size (cons row placed)))
                (filter (lambda (row) (safe? row 1 placed)) (range 0 size))))))

; d/dx of expressions of +, * and x, simplified where an operand is 0 or 1.
(define (is? n value) (if (pair? value) '() (if (symbol? value) '() (= n value))))
(define (plus a b) (if (is? 0 a) b (if (is? 0 b) a (list '+ a b))))
(define (times a b)
  (if (or (is? 0 a) (is? 0 b)) 0 (if (is? 1 a) b (if (is? 1 b) a (list '* a b)))))
(define (derive e)
  (if (symbol? e)
      1
      (if (pair? e)
          (let ((a (car (cdr e))) (b (car (cdr (cdr e)))))
            (if (eq? (car e) '+)
                (plus (derive a) (derive b))
                (plus (times a (derive b)) (times (derive a) b))))
          0)))
(define (polynomial degree) (if (= degree 0) 1 (list '+ degree (list '* 'x (polynomial (- degree 1))))))
(define (show e)
  (if (pair? e)
      (string-append "(" (string-append (show-items e) ")"))
      (if (symbol? e) (symbol->string e) (number->string e))))
(define (show-items items)
  (fold (lambda (text item) (string-append text (string-append " " (show item)))) "" items))
(define (derivatives times e) (if (= times 0) e (derivatives (- times 1) (derive e))))

; Merge sort of pseudo-random numbers.
(define (numbers count seed tail)
  (if (= count 0)
      tail
      (numbers (- count 1) (remainder (+ (* seed 1103515245) 12345) 2147483648) (cons seed tail))))
(define (merge a b tail)
  (if (and a b)
      (if (< (car a) (car b)) (merge (cdr a) b (cons (car a) tail)) (merge a (cdr b) (cons (car b) tail)))
      (append (reverse tail) (or a b))))
(define (halve items a b) (if items (halve (cdr items) b (cons (car items) a)) (list a b)))
(define (sort items)
  (if (and items (cdr items))
      (let ((halves (halve items '() '()))) (merge (sort (car halves)) (sort (car (cdr halves))) '()))
      items))
(define (join items)
  (fold (lambda (text n) (string-append text (string-append (number->string n) ","))) "" items))

(define (main n board)
  (list (fib (+ 10 n)) (length (sieve (* 1000 n))) (queens board board '())
        (string-length (show (derivatives 3 (polynomial n)))) (join (sort (numbers (* 40 n) 42 '())))))
)scheme";

std::uint64_t digest(const Ref &value) {
    Checksum sum;
    for (const Ref *at = &value; *at; at = &rest(*at)) {
        const Ref &item = first(*at);
        if (item.is(Kind::integer)) sum.add(number(item));
        else sum.add(item.as<String>().text.data(), item.as<String>().text.size());
    }
    return sum.value();
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    Interpreter interpreter;
    interpreter.run(library);
    interpreter.run(programs);
    const std::string call = options.pick("(main 6 4)", "(main 13 6)", "(main 19 8)");
    return finish("interp", digest(interpreter.run(call)));
}
