"""Feature extraction from reviews: cleaned by regular expressions, reduced to weighted terms."""
import math
import re

import function

SIZES = {"tiny": 20, "small": 70, "full": 350}
STEMS = ("deliver pack qualit price fit colour batter screen sound comfort return refund support broke love hate "
         "recommend expect work use cheap fast slow heavy light bright loud small large cook clean read play").split()
ENDINGS = ["", "s", "ed", "ing", "y", "able", "ness", "ly"]
LOUD = ["NEVER again", "GREAT stuff", "AWFUL", "WORTH it"]

MARKUP = re.compile(r"<[^<>]+>|&\w+;")
ADDRESS = re.compile(r"\b[\w.]+@[\w.]+\.\w{2,}\b|https?://\S+")
MONEY = re.compile(r"(?:EUR|\$)\s?(\d+)(?:[.,](\d{2}))?")
STARS = re.compile(r"\b([1-5])(?:\s*/\s*5|\s+stars?)\b", re.IGNORECASE)
SHOUT = re.compile(r"\b[A-Z]{4,}\b")
WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
ENDING = re.compile(r"(?:ness|able|ing|ed|ly|s|y)$")


def reviews(count):
    """Texts with markup, prices, links and ratings in them, about 60 words each."""
    source = function.source("reviews")
    draw, pick = source.randrange, source.choice
    for i in range(count):
        words = [pick(STEMS) + pick(ENDINGS) for _ in range(35 + draw(50))]
        words[draw(len(words))] = "%d stars" % (1 + draw(5))
        words[draw(len(words))] = "$%d.%02d" % (draw(300), draw(100))
        words[draw(len(words))] = pick(LOUD)
        words[draw(len(words))] = "<b>don't</b> see https://shop.example/r/%d?x=%d" % (i, draw(99))
        words[draw(len(words))] = "write to buyer%d@mail.example &amp; ask" % i
        yield " ".join(words).capitalize() + "."


def features(text):
    """Term counts of one review, and what the special patterns found."""
    text = MARKUP.sub(" ", text)
    links = len(ADDRESS.findall(text))
    text = ADDRESS.sub(" ", text)
    cents = sum(int(a) * 100 + int(b or 0) for a, b in MONEY.findall(text))
    match = STARS.search(text)
    terms, previous = {}, None
    for word in WORD.findall(text.lower()):
        stem = ENDING.sub("", word)
        terms[stem] = terms.get(stem, 0) + 1
        if previous:
            pair = previous + " " + stem
            terms[pair] = terms.get(pair, 0) + 1
        previous = stem
    return {"links": links, "cents": cents, "stars": int(match.group(1)) if match else 0,
            "loud": len(SHOUT.findall(text)), "terms": terms}


def handler(event, context):
    """Answers with the checksum of each review's five weightiest terms, and of the totals."""
    found = [features(text) for text in reviews(SIZES[event["size"]])]
    documents = {}
    for one in found:
        for term in one["terms"]:
            documents[term] = documents.get(term, 0) + 1
    rows = []
    for one in found:
        weights = {term: count * math.log(len(found) / documents[term]) for term, count in one["terms"].items()}
        best = sorted(weights.items(), key=lambda item: (-round(item[1], 6), item[0]))[:5]
        rows.append("%(stars)d %(cents)d %(links)d %(loud)d " % one
                    + ", ".join("%s %.5f" % item for item in best))
    return function.answer("\n".join(rows), terms=len(documents))


if __name__ == "__main__":
    function.main("review_features", SIZES, handler)
