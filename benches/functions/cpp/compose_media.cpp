// Composes the media of posts: messages as protocol buffers, decoded, checked, joined and encoded again.
#include "function.hpp"

struct Media {
    std::uint64_t id = 0;
    std::string type, caption;
};

static std::string encode(const Media &media) {
    function::Encoder encoder;
    encoder.number(1, media.id);
    encoder.text(2, media.type);
    encoder.text(3, media.caption);
    return std::move(encoder.bytes);
}

static std::unique_ptr<Media> decode(const std::string &bytes) {
    auto media = std::make_unique<Media>();
    function::Decoder decoder(bytes);
    int field;
    std::uint64_t value;
    for (std::string text; decoder.next(field, value, text);) {
        if (field == 1) media->id = value;
        if (field == 2) media->type = text;
        if (field == 3) media->caption = text;
    }
    return media;
}

static std::string handler(int count) {
    function::Source source("compose_media");
    const char *types[] = {"png", "jpeg", "mp4", "svg+xml", "webm"};
    std::vector<std::string> requests;
    for (int i = 0; i < count; i++) {
        function::Encoder request;
        request.number(1, source.word() >> 8);
        for (std::uint64_t n = 1 + source.draw(6); n > 0; n--) {
            const Media media{source.word() >> 16, types[source.draw(5)], std::string(source.draw(60), 'c')};
            request.text(2, encode(media));
        }
        requests.push_back(std::move(request.bytes));
    }
    std::map<std::string, int> kinds;
    std::string out;
    for (const std::string &request : requests) {
        std::vector<std::unique_ptr<Media>> all;
        std::uint64_t post = 0, value;
        function::Decoder decoder(request);
        int field;
        for (std::string text; decoder.next(field, value, text);) {
            if (field == 1) post = value;
            else all.push_back(decode(text));
        }
        function::Encoder composed;
        composed.number(1, post);
        for (const auto &media : all) {
            kinds[media->type]++;
            media->caption += " (" + media->type + " " + std::to_string(media->id % 1000) + ")";
            composed.text(2, encode(*media));
        }
        out += composed.bytes;
    }
    for (const auto &kind : kinds) out += kind.first + "=" + std::to_string(kind.second) + ";";
    return out;
}

int main(int argc, char **argv) { return function::main(argc, argv, "compose_media", {40, 3500, 20000}, handler); }
