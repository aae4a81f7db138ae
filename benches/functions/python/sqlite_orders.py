"""A shop's database in memory: bulk insert, indices, joins, grouping, updates."""
import sqlite3

import function

SIZES = {"tiny": 60, "small": 1200, "full": 6500}
SCHEMA = """
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL);
CREATE TABLE product (id INTEGER PRIMARY KEY, title TEXT NOT NULL, cents INTEGER NOT NULL);
CREATE TABLE line (id INTEGER PRIMARY KEY, customer INTEGER, product INTEGER, pieces INTEGER, day TEXT);
"""
QUERIES = [
    """SELECT city, count(*), sum(pieces * cents) FROM line JOIN customer ON customer.id = line.customer
       JOIN product ON product.id = line.product GROUP BY city ORDER BY city""",
    """SELECT title, sum(pieces) AS sold FROM line JOIN product ON product.id = line.product
       GROUP BY title ORDER BY sold DESC, title LIMIT 40""",
    """SELECT day, count(DISTINCT customer), max(pieces) FROM line GROUP BY day ORDER BY day""",
    """SELECT name, title, upper(substr(title, -5)), pieces FROM line
       JOIN customer ON customer.id = line.customer JOIN product ON product.id = line.product
       WHERE pieces > 7 ORDER BY name, title, line.id LIMIT 400""",
]


def handler(event, context):
    """Answers with the checksum of all result rows."""
    lines = SIZES[event["size"]]
    source = function.source("database")
    draw, pick = source.randrange, source.choice
    cities = ["Bergen", "Cádiz", "Gdańsk", "Nantes", "Porto", "Split", "Trieste", "Turku"]
    database = sqlite3.connect(":memory:")
    try:
        database.executescript(SCHEMA)
        database.executemany("INSERT INTO customer VALUES (?, ?, ?)", [
            (i, "customer %05d of the house" % draw(10 ** 5), pick(cities)) for i in range(lines // 8)])
        database.executemany("INSERT INTO product VALUES (?, ?, ?)", [
            (i, "product %d, %s" % (i, "large" if draw(2) else "small"), 50 + draw(9000)) for i in range(300)])
        database.executemany("INSERT INTO line (customer, product, pieces, day) VALUES (?, ?, ?, ?)", [
            (draw(lines // 8), draw(300), 1 + draw(8), "2026-%02d-%02d" % (1 + draw(12), 1 + draw(28)))
            for _ in range(lines)])
        database.execute("CREATE INDEX by_day ON line (day, customer)")
        database.execute("UPDATE line SET pieces = pieces + 1 WHERE day LIKE '2026-12-%'")
        database.execute("DELETE FROM line WHERE product % 17 = 3")
        rows = [row for query in QUERIES for row in database.execute(query)]
        for customer in range(0, lines // 8, 5):
            rows += database.execute("SELECT id, pieces FROM line WHERE day >= ? AND customer = ? ORDER BY id LIMIT 3",
                                     ("2026-12-10", customer))
    finally:
        database.close()
    return function.answer("\n".join(map(repr, rows)), rows=len(rows))


if __name__ == "__main__":
    function.main("sqlite_orders", SIZES, handler)
