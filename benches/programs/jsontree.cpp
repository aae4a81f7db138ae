// A JSON document: generated, parsed, transformed and written again.
//
// Allocation: a tree of values: objects are maps from strings to owned values, arrays are vectors of owned values.
// A value is 40 bytes, a map's node 72, the strings 4–60 bytes, the vectors and the text grow by doubling.
// Lifetimes: a document lives while it is worked on; parts of it move into the transformed one. One thread.
#include "program.hpp"

#include <cctype>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

using namespace program;

namespace {

struct Value;
using Owned = std::unique_ptr<Value>;
using Array = std::vector<Owned>;
using Object = std::map<std::string, Owned>;

struct Value {
    std::variant<std::nullptr_t, bool, std::int64_t, std::string, std::unique_ptr<Array>, std::unique_ptr<Object>>
        held;

    Array &array() { return *std::get<std::unique_ptr<Array>>(held); }
    Object &object() { return *std::get<std::unique_ptr<Object>>(held); }
};

template <class T> Owned value(T held) {
    auto made = std::make_unique<Value>();
    made->held = std::move(held);
    return made;
}

// The input: orders with customers, items and remarks, as a service would get them.
class Generator {
  public:
    explicit Generator(std::uint64_t seed) : random(seed) {}

    std::string orders(unsigned count) {
        std::string out = "{\"version\": 3, \"next\": null, \"orders\": [";
        for (unsigned i = 0; i < count; i++) {
            if (i) out += ", ";
            order(out, i);
        }
        return out + "]}";
    }

  private:
    void word(std::string &out) {
        for (unsigned syllables = random.between(2, 5); syllables > 0; syllables--) {
            out += "bdfgklmnprstvz"[random.below(14)];
            out += "aeiou"[random.below(5)];
        }
    }
    void text(std::string &out, unsigned words) {
        out += '"';
        for (unsigned i = 0; i < words; i++) {
            if (i) out += random.below(16) ? " " : "\\n\\\"";
            word(out);
        }
        out += '"';
    }
    void order(std::string &out, unsigned id) {
        out += "{\"id\": " + std::to_string(id) + ", \"customer\": {\"name\": ";
        text(out, 2);
        out += ", \"city\": \"city number " + std::to_string(random.below(50)) + "\", \"company\": ";
        out += random.below(2) ? "true" : "false";
        out += "}, \"items\": [";
        for (unsigned i = 0, items = random.between(1, 6); i < items; i++) {
            out += i ? ", {\"product\": " : "{\"product\": ";
            text(out, 1);
            out += ", \"price\": " + std::to_string(random.between(100, 99'999));
            out += ", \"quantity\": " + std::to_string(random.between(1, 12)) + "}";
        }
        out += "], \"discount\": " + std::string(random.below(4) ? "null" : "-5") + ", \"remark\": ";
        text(out, random.below(9));
        out += "}";
    }

    Random random;
};

class Parser {
  public:
    explicit Parser(const std::string &text) : at(text.c_str()) {}

    Owned document() {
        Owned root = any();
        skip();
        require(!*at, "jsontree: something follows the document");
        return root;
    }

  private:
    void skip() {
        while (std::isspace(static_cast<unsigned char>(*at))) at++;
    }
    bool take(char c) {
        skip();
        if (*at != c) return false;
        at++;
        return true;
    }
    void expect(const char *token) {
        std::size_t length = std::strlen(token);
        require(!std::strncmp(at, token, length), "jsontree: no JSON");
        at += length;
    }
    Owned any() {
        skip();
        switch (*at) {
        case '{': return value(object());
        case '[': return value(array());
        case '"': return value(string());
        case 'n': expect("null"); return value(nullptr);
        case 't': expect("true"); return value(true);
        case 'f': expect("false"); return value(false);
        default: return value(number());
        }
    }
    std::int64_t number() {
        char *end;
        std::int64_t read = std::strtoll(at, &end, 10);
        require(end != at, "jsontree: no JSON");
        at = end;
        return read;
    }
    std::string string() {
        expect("\"");
        std::string read;
        while (*at != '"') {
            require(*at, "jsontree: a string has no end");
            if (*at == '\\') {
                at++;
                read += *at == 'n' ? '\n' : *at;
            } else {
                read += *at;
            }
            at++;
        }
        at++;
        return read;
    }
    std::unique_ptr<Array> array() {
        expect("[");
        auto read = std::make_unique<Array>();
        if (take(']')) return read;
        do read->push_back(any());
        while (take(','));
        expect("]");
        return read;
    }
    std::unique_ptr<Object> object() {
        expect("{");
        auto read = std::make_unique<Object>();
        if (take('}')) return read;
        do {
            skip();
            std::string key = string();
            require(take(':'), "jsontree: a key without a value");
            read->emplace(std::move(key), any());
        } while (take(','));
        expect("}");
        return read;
    }

    const char *at;
};

void write(std::string &out, const std::string &text) {
    out += '"';
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (c == '\n') out += "\\n";
        else out += c;
    }
    out += '"';
}

void write(std::string &out, const Value &from) {
    struct Writer {
        std::string &out;
        void operator()(std::nullptr_t) { out += "null"; }
        void operator()(bool held) { out += held ? "true" : "false"; }
        void operator()(std::int64_t held) { out += std::to_string(held); }
        void operator()(const std::string &held) { write(out, held); }
        void operator()(const std::unique_ptr<Array> &held) {
            out += '[';
            for (const Owned &item : *held) {
                if (&item != &held->front()) out += ',';
                write(out, *item);
            }
            out += ']';
        }
        void operator()(const std::unique_ptr<Object> &held) {
            out += '{';
            bool more = false;
            for (const auto &[key, item] : *held) {
                if (std::exchange(more, true)) out += ',';
                write(out, key);
                out += ':';
                write(out, *item);
            }
            out += '}';
        }
    };
    std::visit(Writer{out}, from.held);
}

Owned copy(const Value &from) {
    struct Copier {
        Owned operator()(const std::unique_ptr<Array> &held) {
            auto made = std::make_unique<Array>();
            for (const Owned &item : *held) made->push_back(copy(*item));
            return value(std::move(made));
        }
        Owned operator()(const std::unique_ptr<Object> &held) {
            auto made = std::make_unique<Object>();
            for (const auto &[key, item] : *held) made->emplace(key, copy(*item));
            return value(std::move(made));
        }
        Owned operator()(std::nullptr_t) { return value(nullptr); }
        Owned operator()(bool held) { return value(held); }
        Owned operator()(std::int64_t held) { return value(held); }
        Owned operator()(const std::string &held) { return value(held); }
    };
    return std::visit(Copier(), from.held);
}

// Groups the orders by city, with each order's total; remarks go, customers are copied into every item.
Owned by_city(Owned document) {
    auto cities = std::make_unique<Object>();
    for (Owned &order : document->object().at("orders")->array()) {
        Object fields = std::move(order->object());
        order.reset();
        fields.erase("remark");
        Object &customer = fields.at("customer")->object();
        const std::string city = std::get<std::string>(customer.at("city")->held);
        customer.erase("city");
        std::int64_t total = 0;
        for (Owned &item : fields.at("items")->array()) {
            Object &parts = item->object();
            auto number = [&parts](const char *key) { return std::get<std::int64_t>(parts.at(key)->held); };
            total += number("price") * number("quantity");
            parts.emplace("ordered by", copy(*fields.at("customer")));
        }
        fields.emplace("total", value(total));
        Owned &group = (*cities)[city];
        if (!group) group = value(std::make_unique<Array>());
        group->array().push_back(value(std::make_unique<Object>(std::move(fields))));
    }
    return value(std::move(cities));
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    const unsigned documents = options.pick(1u, 2u, 5u);
    const unsigned orders = options.pick(400u, 2500u, 6000u);

    Checksum sum;
    for (unsigned i = 0; i < documents; i++) {
        Owned grouped = by_city(Parser(Generator(i).orders(orders)).document());
        std::string text;
        write(text, *grouped);
        Owned again = Parser(text).document();
        grouped.reset();
        std::string second;
        write(second, *again);
        require(text == second, "jsontree: what was written is read as something else");
        sum.add(text.data(), text.size());
    }
    return finish("jsontree", sum.value());
}
