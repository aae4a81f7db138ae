"""Serialises search results: compact lines for an index, and an indented page for people."""
import json

import function

SIZES = {"tiny": 30, "small": 600, "full": 3000}
WORDS = "river stone night garden paper signal copper winter harbour über naïve 東京 market lamp".split()


def documents(count):
    """Nested documents of some 25 values each."""
    source = function.source("documents")
    draw, pick = source.randrange, source.choice
    made = []
    for i in range(count):
        made.append({
            "id": draw(1 << 48),
            "title": " ".join(pick(WORDS) for _ in range(4 + draw(5))),
            "url": "https://example.org/articles/%d/%s?page=%d" % (2000 + draw(26), pick(WORDS), i),
            "score": draw(10000) / 64,
            "draft": draw(5) == 0,
            "parent": None if draw(3) else i // 2,
            "author": {"name": "%s %s" % (pick(WORDS), pick(WORDS)), "followers": draw(10 ** 6)},
            "sections": [
                {"heading": pick(WORDS), "length": draw(4000), "rank": draw(256) / 16}
                for _ in range(1 + draw(4))
            ],
            "tags": [pick(WORDS) for _ in range(draw(6))],
            "quote": 'he said:\t"%s\\%s"\n' % (pick(WORDS), pick(WORDS)),
        })
    return made


def handler(event, context):
    """Answers with the checksum of both texts."""
    made = documents(SIZES[event["size"]])
    encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
    index = "\n".join(encoder.encode(document) for document in made)
    page = json.dumps({"total": len(made), "hits": made[: len(made) // 8]}, indent=2, sort_keys=True)
    return function.answer(index + "\n" + page, documents=len(made))


if __name__ == "__main__":
    function.main("json_dumps", SIZES, handler)
