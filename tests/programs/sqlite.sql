-- A workload of inserts, indexes, joins, aggregates, JSON, windows and deletes.
.bail on
PRAGMA cache_size = -2000;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price REAL, note TEXT);
CREATE TABLE sale(item INTEGER REFERENCES item, day INTEGER, amount INTEGER);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, 'item ' || i, (i * 7919 % 10007) / 100.0, hex(zeroblob(i % 200)) FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO sale SELECT i * 104729 % 20000 + 1, i % 365, i * 31 % 17 FROM n;
COMMIT;
CREATE INDEX by_price ON item(price);
CREATE INDEX by_item ON sale(item, day);
SELECT count(*), sum(amount), printf('%.3f', sum(amount * price)) FROM sale JOIN item ON item.id = sale.item;
SELECT day, sum(amount) AS s FROM sale GROUP BY day ORDER BY s DESC, day LIMIT 5;
SELECT id, name, rank() OVER (ORDER BY price DESC, id) AS r FROM item ORDER BY r LIMIT 5;
SELECT json_group_array(json_object('id', id, 'price', price)) FROM (SELECT * FROM item WHERE id % 4000 = 3);
SELECT length(group_concat(name, ',')) FROM (SELECT name FROM item ORDER BY price, id);
DELETE FROM item WHERE id % 3 = 0;
UPDATE item SET note = upper(name) || note WHERE id % 5 = 0;
SELECT count(*), sum(length(note)) FROM item;
VACUUM;
PRAGMA integrity_check;
SELECT no_such_column FROM item;
