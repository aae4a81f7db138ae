// Text in standard strings: built, split, joined, replaced, counted and sorted.
//
// Allocation: strings of 16 bytes to a few KiB (shorter ones lie within the string object), which grow by
// doubling as they are appended to; vectors of strings; nodes of maps with string keys. Lifetimes: lines and words
// live for a round, concatenations for an expression. One thread.
#include "program.hpp"

#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

using namespace program;

namespace {

using Words = std::vector<std::string>;

// Words of 4–30 letters; long ones, as identifiers, paths and keys are, so that most are heap objects.
Words vocabulary(Random &random, unsigned count) {
    Words words;
    for (unsigned i = 0; i < count; i++) {
        std::string word;
        for (unsigned letters = random.between(4, 30); letters > 0; letters--)
            word += static_cast<char>('a' + random.below(26));
        words.push_back(word);
    }
    return words;
}

// Lines of `key=word word word; key=…`.
std::string document(Random &random, const Words &words, unsigned lines) {
    std::string text;
    for (unsigned i = 0; i < lines; i++) {
        std::string line = "line" + std::to_string(i);
        for (unsigned fields = random.between(1, 6); fields > 0; fields--) {
            line = line + "; " + words[random.below(words.size() / 8)] + "=";
            for (unsigned n = random.between(1, 5); n > 0; n--) line += words[random.below(words.size())] + " ";
        }
        text += line + "\n";
    }
    return text;
}

Words split(const std::string &text, char separator) {
    Words parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        std::size_t end = std::min(text.find(separator, begin), text.size());
        if (end > begin) parts.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

std::string join(const Words &parts, const std::string &separator) {
    std::string joined;
    for (const std::string &part : parts) joined = joined.empty() ? part : std::move(joined) + separator + part;
    return joined;
}

std::string replaced(std::string text, const std::string &what, const std::string &with) {
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size())
        text.replace(at, what.size(), with);
    return text;
}

std::string capitalised(std::string word) {
    word[0] = static_cast<char>(word[0] - 'a' + 'A');
    return word;
}

std::uint64_t round(Random &random, const Words &words, unsigned lines) {
    std::unordered_map<std::string, unsigned> counts;
    std::map<std::string, Words> index;
    Words report;
    for (const std::string &line : split(document(random, words, lines), '\n')) {
        Words fields = split(line, ';');
        for (std::string &field : fields) {
            Words pair = split(field, '=');
            if (pair.size() < 2) continue;
            Words values = split(pair[1], ' ');
            for (std::string &value : values) {
                counts[value]++;
                value = capitalised(value);
            }
            std::sort(values.begin(), values.end());
            index[pair[0]].push_back(fields[0] + ": " + join(values, ", "));
            field = pair[0] + " is " + join(values, " and ");
        }
        report.push_back(replaced(join(fields, ";"), " and ", " or else "));
    }
    Words all;
    for (auto &[word, count] : counts) all.push_back(word + " occurs " + std::to_string(count) + " times");
    std::sort(all.begin(), all.end());
    Checksum sum;
    for (const Words &list : {report, all})
        for (const std::string &line : list) sum.add(line.data(), line.size());
    for (auto &[key, places] : index) {
        std::string line = key + ": " + join(places, "; ");
        sum.add(line.data(), line.size());
    }
    return sum.value();
}

} // namespace

int main(int argc, char **argv) {
    Options options = parse(argc, argv, single);
    const unsigned rounds = options.pick(1u, 10u, 24u);
    const unsigned lines = options.pick(400u, 1000u, 3000u);

    Random random(17);
    Words words = vocabulary(random, lines * 2);
    Checksum sum;
    for (unsigned i = 0; i < rounds; i++) sum.add(round(random, words, lines));
    return finish("strings", sum.value());
}
