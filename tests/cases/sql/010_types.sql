-- Every column type with its extremes and NULL, in text and binary rows.

CREATE TABLE t (
  id INT PRIMARY KEY, ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, mi MEDIUMINT, bi BIGINT, bu BIGINT UNSIGNED,
  f FLOAT, d DOUBLE, n DECIMAL(65,30), n2 DECIMAL(15,2), b1 BIT(1), b64 BIT(64), y YEAR,
  da DATE, tm TIME(6), dt DATETIME(6), ts TIMESTAMP(3) NULL, c CHAR(10), v VARCHAR(200), vb VARBINARY(20), bn BINARY(4),
  tt TINYTEXT, tx TEXT, mt MEDIUMTEXT, lb LONGBLOB, e ENUM('a','b','c'), s SET('x','y','z'), j JSON, bo BOOL
);

INSERT INTO t VALUES
  (1, -128, 255, -32768, -8388608, -9223372036854775808, 18446744073709551615, 1.5, -2.25e300, 12345678901234567890.123456789012345678901234567890, -9999999999999.99,
   b'1', b'1111111111111111111111111111111111111111111111111111111111111111', 2155, '9999-12-31', '838:59:59.000000', '9999-12-31 23:59:59.999999', '2037-01-01 00:00:00.123',
   'char', 'värchar ☃ 🐬', x'00ff10', x'01020304', 'tiny', 'text', 'medium', x'00000000', 'b', 'x,z', '{"a": [1, 2.5, null, "x"]}', TRUE),
  (2, 127, 0, 32767, 8388607, 9223372036854775807, 0, -0.0, 1e-300, -0.000000000000000000000000000001, 0.01,
   b'0', b'0', 1901, '1000-01-01', '-838:59:59.000000', '1000-01-01 00:00:00', '1970-01-02 00:00:00', '', '', '', '', '', '', '', '', 'a', '', '[]', FALSE),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- prepared
SELECT * FROM t ORDER BY id;

-- prepared
SELECT 1, -1, 1.5, 1e5, 'a', NULL, TRUE, x'4142', DATE '2024-02-29', TIME '12:00:00.5', TIMESTAMP '2024-02-29 01:02:03', CAST(1 AS UNSIGNED), CAST('x' AS BINARY), CAST('{}' AS JSON);

-- prepared
SELECT COUNT(*), SUM(n2), AVG(n2), MIN(dt), MAX(v), SUM(d), GROUP_CONCAT(id ORDER BY id), BIT_OR(bu), STDDEV(ti) FROM t;

-- prepared
SELECT REPEAT('x', 250), REPEAT('y', 251), REPEAT('z', 65535), REPEAT('w', 65536);

-- prepared
SELECT id, v FROM t WHERE id > 100;

SELECT n.id AS a, m.id AS `b c`, 'lit' AS 'q', n.id + 1 FROM t n JOIN t m ON n.id = m.id ORDER BY 1;

-- A row that begins with the bytes that also begin EOF, ERR and OK packets.
-- prepared
SELECT REPEAT('e', 70000), NULL, '' UNION ALL SELECT '', 'x', NULL UNION ALL SELECT NULL, NULL, NULL;

SELECT REPEAT('a', 16777200) AS just_below, 1;

SELECT REPEAT('a', 16777211) AS exactly_one_part;

SELECT REPEAT('a', 17000000) AS two_parts UNION ALL SELECT 'b';

SELECT REPEAT('a', 33554422) AS two_whole_parts;

-- parameters: 1
-- parameters: NULL
-- parameters: 3
SELECT id, tm, e FROM t WHERE id = ?;

-- parameters: 'b', 5, NULL
-- parameters: 'ünï', -9223372036854775808, 'x'
SELECT ? AS a, ? + 1 AS b, IFNULL(?, 'none') AS c;
