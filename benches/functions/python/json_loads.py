"""Parses a feed of orders, as a webhook delivers it, and sums it up by country and product."""
import json

import function

SIZES = {"tiny": 40, "small": 700, "full": 3500}
COUNTRIES = ["DE", "FR", "JP", "BR", "US", "IN", "KE", "NZ"]
LINE = '{"sku":"P-%05d","quantity":%d,"price":%d.%02d,"options":{"gift":%s,"note":%s}}'
ORDER = (
    '{"id":"%08x-%04x","customer":{"name":"Customer \\u00e9 %d","country":"%s",'
    '"email":"c%d@mail.example","vip":%s},"placed":"2026-%02d-%02dT%02d:%02d:00Z",'
    '"lines":[%s],"tags":["web","%s","campaign-%d"],"shipping":{"weight":%d.5,"route":[%d,%d,%d]}}'
)


def feed(orders):
    """The text of the feed: about 600 bytes an order."""
    draw = function.source("orders").randrange
    texts = []
    for i in range(orders):
        lines = ",".join(
            LINE % (draw(900), 1 + draw(5), draw(200), draw(100), "true" if draw(4) == 0 else "false",
                    "null" if draw(3) else '"leave at \\"the door\\", flat %d"' % draw(80))
            for _ in range(1 + draw(5))
        )
        texts.append(ORDER % (
            draw(1 << 32), draw(1 << 16), i, COUNTRIES[draw(8)], i, "true" if draw(9) == 0 else "false",
            1 + draw(12), 1 + draw(28), draw(24), draw(60), lines,
            "mobile" if draw(2) else "desktop", draw(40), draw(30), draw(100), draw(100), draw(100)))
    return '{"version":3,"orders":[%s]}' % ",\n".join(texts)


def summary(orders):
    """Revenue in cents by country, pieces by product, and the busiest days."""
    revenue, pieces, days, notes = {}, {}, {}, 0
    for order in orders:
        cents = 0
        for line in order["lines"]:
            cents += line["quantity"] * round(line["price"] * 100)
            pieces[line["sku"]] = pieces.get(line["sku"], 0) + line["quantity"]
            notes += len(line["options"]["note"] or "")
        country = order["customer"]["country"]
        revenue[country] = revenue.get(country, 0) + cents
        day = order["placed"][:10]
        days.setdefault(day, []).append(order["id"])
    rows = ["%s %d" % row for row in sorted(revenue.items())]
    rows += ["%s %d" % row for row in sorted(pieces.items())]
    rows += ["%s %s" % (day, " ".join(ids)) for day, ids in sorted(days.items())]
    return "\n".join(rows + [str(notes)])


def handler(event, context):
    """Answers with the summary's checksum."""
    orders = json.loads(feed(SIZES[event["size"]]))["orders"]
    return function.answer(summary(orders), orders=len(orders))


if __name__ == "__main__":
    function.main("json_loads", SIZES, handler)
