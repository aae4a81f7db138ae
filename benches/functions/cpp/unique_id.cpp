// Gives each post of a batch an ID of machine, time and counter, as the service of a social network does.
#include "function.hpp"

using function::Json;

static std::string handler(int count) {
    function::Source source("unique_id");
    Json batch = Json::array();
    for (int i = 0; i < count; i++) {
        Json post = Json::object();
        post["req_id"] = Json(static_cast<std::int64_t>(source.word() >> 1));
        post["post_type"] = Json(static_cast<std::int64_t>(source.draw(4)));
        post["time_ms"] = Json(static_cast<std::int64_t>(1514764800000 + i / 3));
        post["host"] = Json("host-" + std::to_string(source.draw(40)) + ".example");
        batch.items.push_back(std::move(post));
    }
    const std::string request = batch.str();
    std::map<std::pair<std::string, std::int64_t>, int> counters;
    Json answer = Json::array();
    for (const Json &post : Json::parse(request).items) {
        const std::string &host = post.at("host").text;
        const std::int64_t time = post.at("time_ms").number - 1514764800000;
        const int counter = counters[{host, time}]++;
        char machine[8], stamp[16], number[8];
        std::snprintf(machine, sizeof machine, "%03x", function::crc32(host) & 0xfff);
        std::snprintf(stamp, sizeof stamp, "%010llx", static_cast<long long>(time));
        std::snprintf(number, sizeof number, "%03x", counter & 0xfff);
        Json reply = Json::object();
        reply["post_id"] = Json(std::string(machine) + stamp + number);
        reply["req_id"] = Json(post.at("req_id").number);
        reply["post_type"] = Json(post.at("post_type").number);
        answer.items.push_back(std::move(reply));
    }
    return answer.str();
}

int main(int argc, char **argv) { return function::main(argc, argv, "unique_id", {40, 2500, 14000}, handler); }
