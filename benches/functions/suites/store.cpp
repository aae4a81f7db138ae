// A store in memory, as services keep sessions, queues and rankings in: store SOCKET.
//
// Speaks Redis's protocol (arrays of bulk strings, pipelined) over a local socket: SET GET APPEND DEL, RPUSH LPOP
// LRANGE, HSET HGET, ZADD ZRANGE. SHUTDOWN prints `KEYS CRC-32 BYTES` of all that is stored, in order, and ends it.
#include "../cpp/function.hpp"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <set>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <unordered_map>

struct Ranking {
    std::unordered_map<std::string, long> scores;
    std::set<std::pair<long, std::string>> order;
};

struct Value {
    std::string text;
    std::unique_ptr<std::deque<std::string>> list;
    std::unique_ptr<std::unordered_map<std::string, std::string>> fields;
    std::unique_ptr<Ranking> ranking;
};

class Store {
  public:
    // The reply to a command.
    std::string obey(const std::vector<std::string> &words) {
        const std::string &name = words.at(0);
        if (name == "SET") return set(values[words.at(1)], words.at(2));
        if (name == "APPEND") return number(values[words.at(1)].text.append(words.at(2)).size());
        if (name == "DEL") return number(values.erase(words.at(1)));
        if (name == "RPUSH") return push(values[words.at(1)], words.at(2));
        if (name == "HSET") return field(values[words.at(1)], words.at(2), words.at(3));
        if (name == "ZADD") return rank(values[words.at(1)], std::atol(words.at(2).c_str()), words.at(3));
        const auto found = values.find(words.at(1));
        if (name == "GET") return found == values.end() ? "$-1\r\n" : bulk(found->second.text);
        if (name == "HGET") {
            if (found == values.end() || !found->second.fields) return "$-1\r\n";
            const auto at = found->second.fields->find(words.at(2));
            return at == found->second.fields->end() ? "$-1\r\n" : bulk(at->second);
        }
        if (name == "LPOP") {
            if (found == values.end() || !found->second.list || found->second.list->empty()) return "$-1\r\n";
            const std::string first = std::move(found->second.list->front());
            found->second.list->pop_front();
            return bulk(first);
        }
        if (name == "LRANGE" || name == "ZRANGE") return range(found, std::atol(words.at(2).c_str()), std::atol(words.at(3).c_str()));
        return "-ERR unknown command " + name + "\r\n";
    }

    // All that is stored, in the order of keys.
    std::string everything() const {
        std::map<std::string, const Value *> sorted;
        for (const auto &entry : values) sorted[entry.first] = &entry.second;
        std::string out;
        for (const auto &entry : sorted) {
            out += entry.first + "=" + entry.second->text;
            if (entry.second->list) for (const auto &item : *entry.second->list) out += "," + item;
            if (entry.second->fields) {
                const std::map<std::string, std::string> fields(entry.second->fields->begin(), entry.second->fields->end());
                for (const auto &field : fields) out += "," + field.first + ":" + field.second;
            }
            if (entry.second->ranking) for (const auto &item : entry.second->ranking->order) out += "," + item.second;
            out += "\n";
        }
        return out;
    }
    std::size_t size() const { return values.size(); }

  private:
    using Values = std::unordered_map<std::string, Value>;
    Values values;

    static std::string number(std::size_t value) { return ":" + std::to_string(value) + "\r\n"; }
    static std::string bulk(const std::string &text) { return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n"; }
    static std::string set(Value &value, const std::string &text) {
        value = Value();
        value.text = text;
        return "+OK\r\n";
    }
    static std::string push(Value &value, const std::string &item) {
        if (!value.list) value.list = std::make_unique<std::deque<std::string>>();
        value.list->push_back(item);
        return number(value.list->size());
    }
    static std::string field(Value &value, const std::string &name, const std::string &text) {
        if (!value.fields) value.fields = std::make_unique<std::unordered_map<std::string, std::string>>();
        return number(value.fields->insert_or_assign(name, text).second);
    }
    static std::string rank(Value &value, long score, const std::string &member) {
        if (!value.ranking) value.ranking = std::make_unique<Ranking>();
        Ranking &ranking = *value.ranking;
        const auto found = ranking.scores.find(member);
        const bool is_new = found == ranking.scores.end();
        if (!is_new) ranking.order.erase({found->second, member});
        ranking.scores[member] = score;
        ranking.order.emplace(score, member);
        return number(is_new);
    }
    std::string range(Values::const_iterator found, long from, long to) const {
        std::vector<std::string> items;
        if (found != values.end() && found->second.list) {
            const auto &list = *found->second.list;
            for (long i = from; i <= to && i < static_cast<long>(list.size()); i++) items.push_back(list[static_cast<std::size_t>(i)]);
        } else if (found != values.end() && found->second.ranking) {
            long i = 0;
            for (const auto &item : found->second.ranking->order) {
                if (i > to) break;
                if (i++ >= from) items.push_back(item.second);
            }
        }
        std::string out = "*" + std::to_string(items.size()) + "\r\n";
        for (const auto &item : items) out += bulk(item);
        return out;
    }
};

// Takes one command off the front of `input`; false if it is not all there yet.
static bool command(const std::string &input, std::size_t &at, std::vector<std::string> &words) {
    std::size_t here = at;
    const auto length = [&](char kind, std::size_t &value) {
        const std::size_t end = input.find("\r\n", here);
        if (end == std::string::npos || input[here] != kind) return false;
        value = std::strtoul(input.c_str() + here + 1, nullptr, 10);
        here = end + 2;
        return true;
    };
    std::size_t count = 0, bytes = 0;
    if (here >= input.size() || !length('*', count)) return false;
    words.clear();
    for (; count > 0; count--) {
        if (here >= input.size() || !length('$', bytes) || input.size() < here + bytes + 2) return false;
        words.push_back(input.substr(here, bytes));
        here += bytes + 2;
    }
    at = here;
    return !words.empty();
}

// Serves one connection; true if it was told to end.
static bool serve(int connection, Store &store) {
    std::string input;
    std::vector<std::string> words;
    std::vector<char> buffer(16384);
    for (;;) {
        const ssize_t count = read(connection, buffer.data(), buffer.size());
        if (count <= 0) return false;
        input.append(buffer.data(), static_cast<std::size_t>(count));
        std::size_t at = 0;
        std::string replies;
        while (command(input, at, words)) {
            if (words[0] == "SHUTDOWN") return true;
            replies += store.obey(words);
        }
        input.erase(0, at);
        for (std::size_t sent = 0; sent < replies.size();) {
            const ssize_t written = write(connection, replies.data() + sent, replies.size() - sent);
            if (written <= 0) return false;
            sent += static_cast<std::size_t>(written);
        }
    }
}

int main(int argc, char **argv) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    if (argc != 2 || std::strlen(argv[1]) >= sizeof address.sun_path) return std::fputs("usage: store SOCKET\n", stderr), 1;
    std::strcpy(address.sun_path, argv[1]);
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address) || listen(listener, 8))
        return std::fprintf(stderr, "store: %s: %s\n", argv[1], std::strerror(errno)), 1;
    Store store;
    for (bool ended = false; !ended;) {
        const int connection = accept(listener, nullptr, nullptr);
        if (connection < 0) return std::perror("store: accept"), 1;
        ended = serve(connection, store);
        close(connection);
    }
    const std::string everything = store.everything();
    std::printf("%zu %08x %zu\n", store.size(), function::crc32(everything), everything.size());
    return 0;
}
