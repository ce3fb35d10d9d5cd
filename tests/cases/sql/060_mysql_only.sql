-- MySQL only: syntax and functions that MariaDB does not have, or answers otherwise.

CREATE TABLE t (a INT PRIMARY KEY, j JSON, g INT AS (a * 2) STORED, INDEX ((a + 1)));

INSERT INTO t (a, j) VALUES (1, '{"x": 1}'), (2, '{"x": [1, 2]}');

-- prepared
SELECT j->>'$.x', JSON_ARRAYAGG(a) OVER (), ROW_NUMBER() OVER (ORDER BY a), g FROM t;

-- prepared
TABLE t ORDER BY a LIMIT 1;

VALUES ROW(1, 'a'), ROW(2, 'b');

WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n;

SELECT * FROM t, LATERAL (SELECT t.a + 1 AS next) l ORDER BY a;

SELECT * FROM JSON_TABLE('[1, 2]', '$[*]' COLUMNS (v INT PATH '$')) jt;

SELECT /*+ SET_VAR(sort_buffer_size = 262144) MAX_EXECUTION_TIME(10000) */ a FROM t ORDER BY a;

EXPLAIN FORMAT=TREE SELECT a FROM t WHERE a = 1;

SET SESSION session_track_schema = OFF;

USE diff;

SET SESSION session_track_schema = ON;

USE diff;

SELECT STATEMENT_DIGEST_TEXT('SELECT 1 FROM t WHERE a = 2');

SET RESOURCE GROUP nosuchgroup;

EXPLAIN ANALYZE FORMAT=TREE SELECT nosuchcolumn FROM t;

SELECT a FROM t ORDER BY a FOR UPDATE SKIP LOCKED;

SELECT REGEXP_REPLACE('abc', 'b', 'X'), UUID_TO_BIN('6ccd780c-baba-1026-9564-5b8c656024db');
