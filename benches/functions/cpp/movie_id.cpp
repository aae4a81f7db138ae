// Registers movies by title and rates them: requests and replies in JSON, an index in memory.
#include "function.hpp"

#include <unordered_map>

using function::Json;

struct Movie {
    std::string id, title;
    std::int64_t sum = 0, ratings = 0;
    std::vector<std::string> cast;
};

static std::string title_of(std::uint64_t number) {
    const char *first[] = {"The Last", "A Quiet", "Return of the", "Beyond the", "Midnight"};
    const char *second[] = {"Harbour", "Signal", "Garden", "Express", "Winter", "Machine"};
    return std::string(first[number % 5]) + " " + second[number / 5 % 6] + " " + std::to_string(number / 30);
}

static std::string handler(int count) {
    function::Source source("movie_id");
    std::unordered_map<std::string, std::unique_ptr<Movie>> index;
    const std::uint64_t movies = static_cast<std::uint64_t>(count) / 4 + 1;
    for (std::uint64_t i = 0; i < movies; i++) {
        auto movie = std::make_unique<Movie>();
        movie->title = title_of(i);
        movie->id = "mv" + std::to_string(100000 + i * 37);
        for (std::uint64_t n = 2 + source.draw(5); n > 0; n--) movie->cast.push_back("actor " + std::to_string(source.draw(5000)));
        index.emplace(movie->title, std::move(movie));
    }
    std::string out;
    for (int i = 0; i < count; i++) {
        const std::string title = title_of(source.draw(movies + movies / 8 + 1));
        Json request = Json::object();
        request["title"] = Json(title);
        request["rating"] = Json(static_cast<std::int64_t>(source.draw(11)));
        request["review"] = Json(std::string(20 + source.draw(80), 'r'));
        const Json parsed = Json::parse(request.str());
        const auto found = index.find(parsed.at("title").text);
        Json reply = Json::object();
        if (found == index.end()) {
            reply["error"] = Json("no such movie: " + title);
        } else {
            Movie &movie = *found->second;
            movie.sum += parsed.at("rating").number;
            movie.ratings++;
            reply["movie_id"] = Json(movie.id);
            reply["average_10"] = Json(movie.sum * 10 / movie.ratings);
            reply["cast"] = Json::array();
            for (const auto &name : movie.cast) reply["cast"].items.push_back(Json(name));
        }
        reply.write(out);
        out += '\n';
    }
    return out;
}

int main(int argc, char **argv) { return function::main(argc, argv, "movie_id", {40, 2000, 11000}, handler); }
