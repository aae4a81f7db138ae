// Finds the users that posts mention, looks them up, and links them in the text.
#include "function.hpp"

#include <cctype>
#include <unordered_map>

using function::Json;

static std::string name_of(std::uint64_t number) { return "user_" + std::to_string(number * 7919 % 100003); }

static std::string handler(int count) {
    function::Source source("user_mention");
    std::unordered_map<std::string, std::int64_t> users;
    for (int i = 0; i < count; i++) users.emplace(name_of(static_cast<std::uint64_t>(i)), 1000000 + i);
    std::vector<std::string> posts;
    for (int i = 0; i < count; i++) {
        std::string text;
        for (std::uint64_t word = 4 + source.draw(24); word > 0; word--) {
            if (source.draw(6) == 0) text += "@" + name_of(source.draw(static_cast<std::uint64_t>(count) * 5 / 4));
            else text.append(2 + source.draw(9), static_cast<char>('a' + source.draw(26)));
            text += word > 1 ? ' ' : '.';
        }
        posts.push_back(std::move(text));
    }
    std::string out;
    for (const std::string &post : posts) {
        Json answer = Json::object();
        answer["mentions"] = Json::array();
        std::string linked;
        for (std::size_t at = 0; at < post.size();) {
            if (post[at] != '@') {
                linked += post[at++];
                continue;
            }
            std::size_t end = at + 1;
            while (end < post.size() && (std::isalnum(static_cast<unsigned char>(post[end])) || post[end] == '_')) end++;
            const std::string name = post.substr(at + 1, end - at - 1);
            const auto found = users.find(name);
            if (found == users.end()) {
                linked += "@" + name;
            } else {
                Json mention = Json::object();
                mention["user_id"] = Json(found->second);
                mention["user_name"] = Json(name);
                answer["mentions"].items.push_back(std::move(mention));
                linked += "<a href=\"/u/" + std::to_string(found->second) + "\">@" + name + "</a>";
            }
            at = end;
        }
        answer["text"] = Json(std::move(linked));
        answer.write(out);
        out += '\n';
    }
    return out;
}

int main(int argc, char **argv) { return function::main(argc, argv, "user_mention", {30, 2000, 11000}, handler); }
