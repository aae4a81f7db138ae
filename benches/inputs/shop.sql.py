"""A shop's database in memory: tables filled, indexed, joined, grouped: for sqlite3."""
import random

draw = random.Random("shop")
print("""CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, country TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, sku TEXT, quantity INTEGER, price REAL, note TEXT);
BEGIN;""")
for i in range(2000):
    print(f"INSERT INTO customer VALUES ({i}, 'Customer {draw.randrange(1 << 20)}', 'C{draw.randrange(40)}');")
for i in range(30000):
    print(f"INSERT INTO orders VALUES ({i}, {draw.randrange(2000)}, 'P-{draw.randrange(900):05d}', {1 + draw.randrange(5)}, "
          f"{draw.randrange(20000) / 100}, '{'note ' * draw.randrange(6)}');")
print("""COMMIT;
CREATE INDEX by_customer ON orders (customer); CREATE INDEX by_sku ON orders (sku, price);
SELECT country, count(*), sum(quantity * price), group_concat(substr(name, 10)) FROM orders JOIN customer ON customer.id = customer GROUP BY country;
SELECT sku, max(price), count(DISTINCT customer) FROM orders GROUP BY sku ORDER BY 3 DESC LIMIT 20;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000) SELECT sum(length(printf('%d-%s', i, hex(i)))) FROM n;
UPDATE orders SET note = upper(note) || sku WHERE price > 100; DELETE FROM orders WHERE quantity = 1;
SELECT c.name, o.sku, o.price FROM orders o JOIN customer c ON c.id = o.customer WHERE o.price > 150 ORDER BY o.price DESC, c.name LIMIT 500;""")
