// What the C++ functions share: sizes, random input, JSON, checksum and command line.
//
// A function is a program with one `handler(count)` that makes its input, works on it and returns its output.
// `NAME [tiny|small|full] [--repeat N]` prints `NAME SIZE CRC-32 BYTES`; all invocations must agree.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace function {

// A random source that gives the same numbers in every process (splitmix64).
class Source {
  public:
    explicit Source(const char *name) {
        for (; *name; name++) state = state * 31 + static_cast<unsigned char>(*name);
    }
    std::uint64_t word() {
        std::uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }
    std::uint64_t draw(std::uint64_t bound) { return word() % bound; }

  private:
    std::uint64_t state = 1;
};

// A JSON value. Objects keep the order of their names, so that what is written is always the same.
struct Json {
    enum Kind { Null, Number, String, Array, Object } kind = Null;
    std::int64_t number = 0;
    std::string text;
    std::vector<Json> items;
    std::map<std::string, std::unique_ptr<Json>> members;

    Json() = default;
    Json(std::int64_t value) : kind(Number), number(value) {}
    Json(std::string value) : kind(String), text(std::move(value)) {}

    static Json array() { return of(Array); }
    static Json object() { return of(Object); }

    Json &operator[](const std::string &name) {
        auto &member = members[name];
        if (!member) member = std::make_unique<Json>();
        return *member;
    }
    const Json &at(const std::string &name) const { return *members.at(name); }

    void write(std::string &out) const {
        switch (kind) {
        case Null: out += "null"; break;
        case Number: out += std::to_string(number); break;
        case String: quote(out, text); break;
        case Array: {
            out += '[';
            const char *comma = "";
            for (auto &item : items) out += comma, item.write(out), comma = ",";
            out += ']';
            break;
        }
        case Object: {
            out += '{';
            const char *comma = "";
            for (auto &member : members) {
                out += comma, quote(out, member.first), out += ':', member.second->write(out);
                comma = ",";
            }
            out += '}';
        }
        }
    }
    std::string str() const {
        std::string out;
        write(out);
        return out;
    }

    static Json parse(const std::string &text) {
        const char *at = text.c_str();
        return value(at);
    }

  private:
    static Json of(Kind kind) {
        Json json;
        json.kind = kind;
        return json;
    }
    static void quote(std::string &out, const std::string &text) {
        out += '"';
        for (char c : text) {
            if (c == '"' || c == '\\') out += '\\';
            if (c == '\n') out += "\\n";
            else out += c;
        }
        out += '"';
    }
    static void skip(const char *&at) { while (*at == ' ' || *at == '\n') at++; }
    [[noreturn]] static void bad(const char *at) {
        std::fprintf(stderr, "no JSON at: %.20s\n", at);
        std::exit(1);
    }
    static std::string string(const char *&at) {
        std::string out;
        for (at++; *at != '"'; at++) {
            if (*at == 0) bad(at);
            if (*at == '\\') out += *++at == 'n' ? '\n' : *at;
            else out += *at;
        }
        at++;
        return out;
    }
    static Json value(const char *&at) {
        skip(at);
        Json json;
        if (*at == '"') return Json(string(at));
        if (*at == '[' || *at == '{') {
            const bool is_object = *at == '{';
            const char end = is_object ? '}' : ']';
            json.kind = is_object ? Object : Array;
            for (skip(++at); *at != end; skip(at)) {
                if (is_object) {
                    std::string name = string(at);
                    skip(at);
                    if (*at++ != ':') bad(at);
                    json[name] = value(at);
                } else {
                    json.items.push_back(value(at));
                }
                skip(at);
                if (*at == ',') skip(++at);
                else if (*at != end) bad(at);
            }
            at++;
            return json;
        }
        char *end;
        json = Json(static_cast<std::int64_t>(std::strtoll(at, &end, 10)));
        if (end == at) bad(at);
        at = end;
        return json;
    }
};

// Messages as protocol buffers encode them: varints, and fields of a length.
class Encoder {
  public:
    std::string bytes;
    void number(int field, std::uint64_t value) { varint(static_cast<std::uint64_t>(field) << 3), varint(value); }
    void text(int field, const std::string &value) {
        varint(static_cast<std::uint64_t>(field) << 3 | 2), varint(value.size()), bytes += value;
    }

  private:
    void varint(std::uint64_t value) {
        for (; value >= 128; value >>= 7) bytes += static_cast<char>(value | 128);
        bytes += static_cast<char>(value);
    }
};

class Decoder {
  public:
    explicit Decoder(const std::string &bytes) : bytes(bytes) {}
    // The next field: its number, its value if that is a number, else its text.
    bool next(int &field, std::uint64_t &value, std::string &text) {
        if (at >= bytes.size()) return false;
        const std::uint64_t head = varint();
        field = static_cast<int>(head >> 3);
        value = varint();
        if ((head & 7) == 2) text = bytes.substr(at, value), at += value;
        return true;
    }

  private:
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            const auto byte = static_cast<unsigned char>(bytes.at(at++));
            value |= static_cast<std::uint64_t>(byte & 127) << shift;
            if (byte < 128) return value;
        }
    }
    const std::string &bytes;
    std::size_t at = 0;
};

inline std::uint32_t crc32(const std::string &data) {
    std::uint32_t crc = ~0u;
    for (unsigned char byte : data) {
        crc ^= byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

// What `tiny`, `small` and `full` mean to a function.
struct Sizes {
    int tiny, small, full;
};

inline int main(int argc, char **argv, const char *name, Sizes sizes, const std::function<std::string(int)> &handler) {
    const auto usage = [&]() {
        std::fprintf(stderr, "usage: %s [tiny|small|full] [--repeat N]\n", name);
        return 1;
    };
    const std::map<std::string, int> counts = {{"tiny", sizes.tiny}, {"small", sizes.small}, {"full", sizes.full}};
    std::string size = "full", first;
    long repeat = 1;
    for (int i = 1; i < argc; i++) {
        if (!std::strcmp(argv[i], "--repeat") && i + 1 < argc && (repeat = std::atol(argv[i + 1])) > 0) i++;
        else if (counts.count(argv[i])) size = argv[i];
        else return usage();
    }
    for (long i = 0; i < repeat; i++) {
        const std::string output = handler(counts.at(size));
        char line[128];
        std::snprintf(line, sizeof line, "%s %s %08x %zu\n", name, size.c_str(), crc32(output), output.size());
        if (i > 0 && first != line) return std::fprintf(stderr, "%s: invocations disagree\n", name), 1;
        first = line;
    }
    std::fputs(first.c_str(), stdout);
    return 0;
}

}  // namespace function
