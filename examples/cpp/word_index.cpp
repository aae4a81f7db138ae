// An index of every word of the files given: where it occurs, and which words follow it. Prints the
// most frequent words. Strings, maps and vectors of all sizes, as C++ programs have them.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

struct Word {
    std::vector<std::pair<int, int>> places; // file and line
    std::map<std::string, int> followers;
};

using Index = std::unordered_map<std::string, std::unique_ptr<Word>>;

static void add(Index &index, int number, const std::string &text) {
    std::string word, previous;
    int line = 1;
    for (char c : text) {
        if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') {
            word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
            continue;
        }
        if (!word.empty()) {
            std::unique_ptr<Word> &entry = index[word];
            if (!entry) entry = std::make_unique<Word>();
            entry->places.emplace_back(number, line);
            if (!previous.empty()) index[previous]->followers[word]++;
            previous = word;
            word.clear();
        }
        if (c == '\n') line++;
    }
}

int main(int argc, char **argv) {
    Index index;
    for (int i = 1; i < argc; i++) {
        std::ifstream file(argv[i], std::ios::binary);
        if (!file) {
            std::fprintf(stderr, "%s cannot be read\n", argv[i]);
            return 1;
        }
        std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        add(index, i, text + "\n");
    }
    std::vector<std::pair<std::size_t, std::string>> words;
    for (const auto &[name, word] : index) words.emplace_back(word->places.size(), name);
    std::sort(words.begin(), words.end(), [](const auto &a, const auto &b) {
        return a.first != b.first ? a.first > b.first : a.second < b.second;
    });
    for (std::size_t i = 0; i < words.size() && i < 10; i++) {
        const auto &followers = index[words[i].second]->followers;
        auto next = std::max_element(followers.begin(), followers.end(),
                                     [](const auto &a, const auto &b) { return a.second < b.second; });
        std::printf("%8zu %-12s then %s\n", words[i].first, words[i].second.c_str(),
                    next == followers.end() ? "-" : next->first.c_str());
    }
    std::printf("%zu words\n", words.size());
}
