-- What every client program runs, block by block, in text and again as server-side prepared statements. Blocks are parted by blank
-- lines and hold one statement each. No answer may depend on the time, on an id of a connection, or on where the client is.

SET NAMES utf8mb4

CREATE TABLE kinds (
  id INT PRIMARY KEY, ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, su SMALLINT UNSIGNED, mi MEDIUMINT, mu MEDIUMINT UNSIGNED,
  i INT, iu INT UNSIGNED, bi BIGINT, bu BIGINT UNSIGNED, f FLOAT, d DOUBLE, n DECIMAL(30,10), n0 DECIMAL(10,0), b1 BIT(1), b64 BIT(64),
  bo BOOL, y YEAR, da DATE, tm TIME(6), tz TIME, dt DATETIME(6), d0 DATETIME, ts TIMESTAMP(3) NULL, c CHAR(10), v VARCHAR(200),
  vb VARBINARY(20), bn BINARY(4), tt TINYTEXT, tx TEXT, lt LONGTEXT, tb TINYBLOB, bl BLOB, e ENUM('a','b','c'), s SET('x','y','z'),
  j JSON, g POINT
)

INSERT INTO kinds VALUES (1, -128, 255, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808,
  18446744073709551615, 1.5, -2.25e300, 12345678901234567890.0123456789, -9999999999, b'1', x'ffffffffffffffff', TRUE, 2155,
  '9999-12-31', '23:59:59.999999', '12:00:00', '9999-12-31 23:59:59.999999', '2024-02-29 01:02:03', '2037-01-01 00:00:00.123',
  'char', 'värchar ☃ 🐬', x'00ff10', x'01020304', 'tiny', 'text', 'long', x'00', x'fffefd00', 'b', 'x,z',
  '{"a": [1, 2.5, null, "ü"], "b": true}', ST_GeomFromText('POINT(1 2)'))

INSERT INTO kinds VALUES (2, 127, 0, 32767, 0, 8388607, 0, 2147483647, 0, 9223372036854775807, 0, -0.5, 1e-300, -0.0000000001, 0,
  b'0', b'1010', FALSE, 1901, '1000-01-01', '00:00:00.000001', '-00:00:01', '1000-01-01 00:00:00', '1970-01-02 03:04:05',
  '1970-01-02 00:00:00', '', '', '', '', '', '', '', '', '', 'a', '', '[]', ST_GeomFromText('POINT(-1.5 1e10)'))

INSERT INTO kinds (id) VALUES (3)

INSERT INTO kinds (id, tm, tz, da) VALUES (4, '-838:59:58.000001', '838:59:59', '2000-01-01')

SELECT id, ti, tu, si, su, mi, mu, i, iu, bi, bu FROM kinds ORDER BY id

SELECT id, f, d, n, n0 FROM kinds ORDER BY id

SELECT id, HEX(b1), b64 + 0, bo, y FROM kinds ORDER BY id

SELECT id, b1, b64 FROM kinds ORDER BY id

SELECT id, da, tm, tz, dt, d0, ts FROM kinds WHERE id < 4 ORDER BY id

SELECT tm, tz FROM kinds WHERE id = 4

SELECT id, c, v, vb, bn, tt, tx, lt, tb, bl FROM kinds ORDER BY id

SELECT id, e, s, j FROM kinds ORDER BY id

SELECT ST_AsText(g), HEX(ST_AsBinary(g)) FROM kinds WHERE id < 3 ORDER BY id

SELECT 1, -1, 1.5, 1e5, 'a', NULL, TRUE, x'4142', DATE '2024-02-29', TIME '12:00:00.5', TIMESTAMP '2024-02-29 01:02:03',
  CAST(1 AS UNSIGNED), CAST('x' AS BINARY), CAST('{}' AS JSON), CAST(2 AS DECIMAL(5,2)), CAST(1 AS FLOAT), 18446744073709551615

SELECT COUNT(*), SUM(n), AVG(i), MIN(dt), MAX(v), GROUP_CONCAT(id ORDER BY id), BIT_OR(bu), STDDEV(ti) FROM kinds

SELECT 1 AS a, 2 AS a, 'x' AS `b c`, 3 AS ``

SELECT id FROM kinds WHERE id > 100

SELECT REPEAT('x', 250), REPEAT('y', 251), REPEAT('z', 65535), REPEAT('w', 65536)

CREATE TABLE numbers (id INT PRIMARY KEY AUTO_INCREMENT, k INT NOT NULL, v VARCHAR(5), UNIQUE (k))

INSERT INTO numbers (k, v) VALUES (1, 'one'), (2, 'two'), (3, 'three')

INSERT INTO numbers (k, v) VALUES (4, 'four')

SELECT LAST_INSERT_ID(), ROW_COUNT()

SELECT @@insert_id, @@identity

INSERT IGNORE INTO numbers (k, v) VALUES (1, 'again'), (5, 'much too long')

SHOW WARNINGS

SHOW COUNT(*) WARNINGS

INSERT INTO numbers (k, v) VALUES (1, 'dup') ON DUPLICATE KEY UPDATE v = 'up'

INSERT INTO numbers (k, v) VALUES (6, 'six') ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id)

REPLACE INTO numbers (k, v) VALUES (2, 'rep')

UPDATE numbers SET v = 'x' WHERE k IN (1, 2, 99)

UPDATE numbers SET v = 'x' WHERE k IN (1, 2, 99)

SELECT ROW_COUNT()

DELETE FROM numbers WHERE k = 3

SELECT SQL_CALC_FOUND_ROWS k FROM numbers ORDER BY k LIMIT 1

SELECT FOUND_ROWS()

SELECT id, k, v FROM numbers ORDER BY k

SELECT 1/0, CAST('12x' AS SIGNED), CAST('2024-02-31' AS DATE)

SHOW WARNINGS

SELECT 'no warnings' AS ok

SHOW WARNINGS

CREATE TEMPORARY TABLE passing (a INT)

INSERT INTO passing VALUES (1), (2)

SELECT SUM(a) FROM passing

DROP TEMPORARY TABLE passing

SET @a = 5, @b = 'text', @c = NULL

SELECT @a, @b, @c, @a + 1

SELECT k INTO @k FROM numbers WHERE k = 4

SELECT @k

SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES', SESSION time_zone = '+05:30'

SELECT "id", FROM_UNIXTIME(0) FROM "numbers" WHERE k = 4

SELECT @@SESSION.sql_mode, @@SESSION.time_zone, @@autocommit, @@character_set_client, @@collation_connection, DATABASE()

SET SESSION sql_mode = DEFAULT, SESSION time_zone = '+00:00'

PREPARE p FROM 'SELECT ? + 1 AS next'

EXECUTE p USING @a

DEALLOCATE PREPARE p

EXECUTE p USING @a

START TRANSACTION

UPDATE numbers SET v = 'lost' WHERE k = 1

SAVEPOINT one

DELETE FROM numbers

ROLLBACK TO SAVEPOINT one

SELECT COUNT(*), MIN(v) FROM numbers

ROLLBACK

BEGIN

INSERT INTO numbers (k, v) VALUES (50, 'kept')

COMMIT

SELECT v FROM numbers WHERE k IN (1, 50) ORDER BY k

START TRANSACTION READ ONLY

DELETE FROM numbers

COMMIT

SELECT GET_LOCK('of a client', 1), RELEASE_LOCK('of a client')

LOCK TABLES numbers READ

DELETE FROM numbers

UNLOCK TABLES

SELECT * FROM missing

SELEKT 1

SELECT nothing FROM numbers

INSERT INTO numbers (k) VALUES (1)

INSERT INTO numbers (k, v) VALUES (77, 'much too long')

INSERT INTO kinds (id, j) VALUES (90, '{')

SELECT EXP(1000)

SELECT CAST('ü' AS CHAR CHARACTER SET latin1) AS latin, _utf8mb4'🐬' AS dolphin, _latin1 x'e4' AS umlaut

CREATE PROCEDURE two(IN a INT, OUT b INT, INOUT c VARCHAR(20)) BEGIN SELECT a AS first; SELECT a + 1 AS second, 'x' AS y UNION ALL SELECT 9, 'z'; SET b = a * 2, c = CONCAT(c, '!'); END

CREATE PROCEDURE quiet() UPDATE numbers SET v = 'q' WHERE k = 50

CREATE PROCEDURE refuses(IN t VARCHAR(40)) BEGIN SELECT 'before' AS b; SIGNAL SQLSTATE '45123' SET MESSAGE_TEXT = t, MYSQL_ERRNO = 5123; END

CREATE FUNCTION doubled(a INT) RETURNS INT DETERMINISTIC RETURN a * 2

CREATE TRIGGER numbers_bi BEFORE INSERT ON numbers FOR EACH ROW SET NEW.v = COALESCE(NEW.v, 'auto')

CREATE VIEW seen AS SELECT k, v, doubled(k) AS d FROM numbers WHERE k < 10

INSERT INTO numbers (k) VALUES (8)

SELECT * FROM seen ORDER BY k

SHOW TABLES

SHOW COLUMNS FROM numbers

SHOW CREATE TABLE numbers

EXPLAIN SELECT k FROM numbers WHERE k = 1

CHECKSUM TABLE numbers

WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i, i * i AS square FROM n

SELECT k, ROW_NUMBER() OVER (ORDER BY k DESC) AS r FROM numbers ORDER BY k

SELECT j.a, j.b FROM JSON_TABLE('[{"a": 1, "b": "x"}, {"a": 2}]', '$[*]' COLUMNS (a INT PATH '$.a', b VARCHAR(5) PATH '$.b')) j

DO 1

TRUNCATE TABLE numbers

SELECT COUNT(*) FROM numbers

CREATE TABLE many (id INT PRIMARY KEY, t VARCHAR(100) NOT NULL)

INSERT INTO many WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT i, REPEAT(CHAR(97 + i % 26), 60) FROM n

INSERT INTO many SELECT id + 1000, t FROM many

INSERT INTO many SELECT id + 2000, t FROM many

INSERT INTO many SELECT id + 4000, t FROM many

CREATE TABLE counters (id INT PRIMARY KEY, n INT NOT NULL)

INSERT INTO counters VALUES (1, 0), (2, 0), (3, 0), (4, 0)

CREATE TABLE given (id INT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DOUBLE, n DECIMAL(20,6), t VARCHAR(100), b VARBINARY(100), da DATE, tm TIME(6), dt DATETIME(6), j JSON)

CREATE TABLE large (id INT PRIMARY KEY AUTO_INCREMENT, b LONGBLOB)

CREATE TABLE loaded (id INT PRIMARY KEY, t VARCHAR(8), n INT)
