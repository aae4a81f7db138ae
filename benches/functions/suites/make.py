"""Makes the inputs of the data and platform suites: python3 make.py {shop|layer} {tiny|small|full} FILE.

The same every time, whatever the interpreter's version.
"""
import io
import sys
import tarfile

SIZES = {"shop": {"tiny": 60, "small": 3000, "full": 20000}, "layer": {"tiny": 12, "small": 400, "full": 2500}}


def source():
    """Numbers from 0 to below a bound, by a linear congruential generator."""
    state = 12345

    def draw(bound):
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & (2 ** 64 - 1)
        return (state >> 33) % bound
    return draw


def shop(count):
    """SQL: customers, orders and lines; an index, updates, and questions with one answer each."""
    draw = source()
    yield "CREATE TABLE customer(id INTEGER PRIMARY KEY, name TEXT, city TEXT);"
    yield "CREATE TABLE line(id INTEGER PRIMARY KEY, customer INT, sku TEXT, cents INT, note TEXT);"
    yield "BEGIN;"
    for i in range(count // 5 + 1):
        yield "INSERT INTO customer VALUES(%d,'Customer %d','City %d');" % (i, draw(10 ** 6), draw(40))
    for i in range(count):
        row = (i, draw(count // 5 + 1), draw(500), draw(20000), "n" * draw(60))
        yield "INSERT INTO line VALUES(%d,%d,'P-%d',%d,'%s');" % row
    yield "COMMIT;"
    yield "CREATE INDEX by_customer ON line(customer);"
    yield "UPDATE line SET cents = cents + 7, note = note || '!' WHERE id % 3 = 0;"
    yield "DELETE FROM line WHERE id % 17 = 5;"
    yield "SELECT count(*), sum(cents), sum(length(note)) FROM line;"
    yield "SELECT city, sum(cents) FROM customer JOIN line ON customer.id = line.customer GROUP BY city ORDER BY 2 DESC, 1 LIMIT 3;"
    yield "SELECT sku, count(*) FROM line GROUP BY sku ORDER BY 2 DESC, 1 LIMIT 3;"


def layer(count, file):
    """A container image's layer: files in directories, of a few bytes to some KB."""
    draw = source()
    with tarfile.open(file, "w:gz", compresslevel=6) as archive:
        for i in range(count):
            words = " ".join("word%d" % draw(5000) for _ in range(draw(900)))
            data = words.encode()
            entry = tarfile.TarInfo("usr/lib/part%02d/module%d.txt" % (draw(60), i))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def main():
    """Writes one input."""
    kind, size, file = sys.argv[1:]
    count = SIZES[kind][size]
    if kind == "shop":
        with open(file, "w") as out:
            out.writelines(line + "\n" for line in shop(count))
    else:
        layer(count, file)


main()
