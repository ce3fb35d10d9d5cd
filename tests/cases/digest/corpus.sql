## Statements whose digest text is compared with the server's, by tests/e2e/digest.rs. One line, one statement.
## Lines that begin with two hashes are headings. {NL} stands for a line break, {TAB} for a tab. All are valid on 9.7.
## Literals
SELECT 'it''s', "a""b", 'a\'b', "a\"b", 'tab\tnew\nline\r\0\b\Z\%\_\\', 'é 漢字 🙂'
SELECT 'a' 'b' "c", 'x'
SELECT N'national', n'x', _utf8mb4'intro', _latin1 'x', _binary 0x41, _utf8mb4 X'41'
SELECT X'4142', x'', 0x4142, 0xfF, B'0101', b'', 0b01
SELECT 0X41, 0B01, 0x, 0b, 0xg FROM t
SELECT 1, 12345678901, 123456789012345678901234567890, 1.5, .5, 5., 1e10, 1E-10, 1.5e+3, 00012
SELECT -1, +1, - 1, - -1, -+-1, -1.5, -.5, -1e5, -0x41
SELECT 1-1, 1 - 1, 1--1, a-1, a -1, (a)-1, f(a)-1, 'x'-1, a*-1, a/-1, a+-1, a%-1 FROM t
SELECT NOT 1, !1, ~1, -'1', -a, -(1), -NULL FROM t
SELECT TRUE, FALSE, NULL, true, null
SELECT DATE '2020-01-01', TIME'10:00:00', TIMESTAMP '2020-01-01 00:00:00.5', {d '2020-01-01'}, {t '10:00'}, {ts '2020-01-01 00:00'}
SELECT CURRENT_DATE, CURRENT_TIME(3), CURRENT_TIMESTAMP, LOCALTIME, LOCALTIMESTAMP(6), UTC_DATE, UTC_TIME(), UTC_TIMESTAMP(6), NOW(3), SYSDATE()
SELECT INTERVAL 1 DAY + a, a + INTERVAL -1 MONTH, a - INTERVAL '1:30' HOUR_MINUTE, a + INTERVAL b QUARTER FROM t
SELECT '中文' AS `列`, a AS 'string alias', b "double alias", c plain FROM t
## Identifiers
SELECT `a`, ` b c `, `select`, `é`, é, _x, $x, a$b, a1, 1a, 1e, `1` FROM t
SELECT t.a, t.`a`, `t`.a, q.t.a, t . a, t. a, t .a, t.select, t.1, t.1a, t.* FROM q.t
SELECT status, type, date, time, year, value, name, comment, user, action, count, sum, now, position FROM t
SELECT Status, STATUS, DaTe FROM T
SELECT * FROM `my table`, `my schema`.`my table` AS `an alias`
## Comments
SELECT /* c1 */ a /* c2 */ FROM /**/ t -- trailing
SELECT a -- comment; with semicolon
SELECT a # hash
SELECT a /* 'quote " ` */ FROM t # it's
SELECT 1 /*! + 1 */
SELECT 1 /*!50000 + 1 */ + /*!99999 2 + */ 3
SELECT /*!80000 STRAIGHT_JOIN */ a FROM t
/*!40101 SET NAMES utf8mb4 */
/*!50503 SET @x = 1 */
SELECT 1 /*M! + 1 */
SELECT 1 /*M!100000 + 1 */
SELECT a--1 FROM t
SELECT a-- 1
SELECT a --	tab comment
SELECT/**/a/**/FROM/**/t
SELECT a FROM t WHERE/* x */b=1/* y */AND c=2
/* traceparent='00-abc' */ SELECT a FROM t /* app='x',route='y' */
SELECT 1 ;
SELECT 1 ; -- nothing
   SELECT   1   
## Hints
SELECT /*+ NO_RANGE_OPTIMIZATION(t PRIMARY, k) */ a FROM t
SELECT /*+ JOIN_ORDER(t1, t2) NO_BNL() BKA(t1@qb) QB_NAME(qb) */ * FROM t1, t2
SELECT /*+ SET_VAR(sort_buffer_size = 16M) SET_VAR(sql_mode = 'ANSI') MAX_EXECUTION_TIME(1000) */ a FROM t
SELECT /*+ SEMIJOIN(@qb MATERIALIZATION, DUPSWEEDOUT) SUBQUERY(INTOEXISTS) */ a FROM t
SELECT /*+ INDEX(t k1, k2) NO_INDEX_MERGE(t) HASH_JOIN(t) MERGE(d) DERIVED_CONDITION_PUSHDOWN(d) */ a FROM t
SELECT /*+ RESOURCE_GROUP(rg) */ a FROM t
SELECT /*+ NotAHint(a) */ a FROM t
SELECT /*+ INDEX(`my table` `my key`) */ a FROM `my table`
INSERT /*+ SET_VAR(foreign_key_checks=OFF) */ INTO t VALUES (1)
UPDATE /*+ NO_MERGE(d) */ t, (SELECT 1) d SET a = 1
DELETE /*+ NO_ICP(t) */ FROM t WHERE a = 1
REPLACE /*+ QB_NAME(x) */ INTO t VALUES (1)
SELECT a FROM t WHERE b IN (SELECT /*+ QB_NAME(sub) */ c FROM u)
SELECT 1 /*+ not a hint place */
SELECT /*+ */ 1
## Lists and rows
SELECT a FROM t WHERE b IN (1)
SELECT a FROM t WHERE b IN (1, 2, 3) AND c NOT IN ('x', 'y') AND d IN (NULL, 1) AND e IN (-1, +2)
SELECT a FROM t WHERE b IN (c, 1, 2) AND d IN (1, c) AND e IN (1 + 1, 2) AND f IN (f(1), 2)
SELECT a FROM t WHERE (a, b) IN ((1, 2), (3, 4)) AND (a, b) IN ((1, 2)) AND (a, b) = (1, 2) AND ROW(a, b) = ROW(1, 2)
SELECT 1, 2, a, 3, 4, 'x', b, NULL FROM t
SELECT (1), ((1)), (1, 2), (1), (2), ((1, 2), (3, 4))
SELECT f(1), f(1, 2), f(a, 1), f(a, 1, 2), f(1, a), f(), f(f(1), 2) FROM t
SELECT @a, 1, @b, 'x', @c, NULL
INSERT INTO t VALUES (1), (2), (3)
INSERT INTO t VALUES (1, 'a', NULL), (2, 'b', -5), (3, 'c', 1.5)
INSERT INTO t VALUES (1, DEFAULT), (2, 3), (4, 5), (NOW(), 6), (7, 8), (9, 10)
INSERT INTO t VALUES (1), (2, 3), (4, 5)
INSERT INTO t VALUES (), ()
SELECT c FROM sbtest1 WHERE id=4711
INSERT INTO t VALUES ROW(1, 2), ROW(3, 4)
VALUES ROW(1, 2), ROW(3, 4) ORDER BY column_0 LIMIT 1
## GROUP BY and ORDER BY ordinals
SELECT a, b FROM t GROUP BY 1, 2 ORDER BY 2 DESC, 1
SELECT a FROM t GROUP BY a, 1 WITH ROLLUP HAVING 1 ORDER BY a, 1, b + 1, 2
SELECT a FROM t ORDER BY 1 LIMIT 1, 2
SELECT a FROM t ORDER BY (1), 1 + 1, '1', -1, 1.0
SELECT RANK() OVER (PARTITION BY 1, a ORDER BY 2 DESC), GROUP_CONCAT(a ORDER BY 1, 2 SEPARATOR ',') FROM t
SELECT a FROM t ORDER BY (SELECT b FROM u ORDER BY 1 LIMIT 1), 2
SELECT a FROM t ORDER BY 1 COLLATE utf8mb4_bin
SELECT a FROM t GROUP BY 01, 99999999999999999999
## Queries
SELECT DISTINCT a, b FROM t WHERE a = 1 AND b <> 'x' OR c IS NOT NULL AND NOT d <=> NULL XOR e
SELECT ALL HIGH_PRIORITY SQL_SMALL_RESULT SQL_BIG_RESULT SQL_BUFFER_RESULT SQL_NO_CACHE SQL_CALC_FOUND_ROWS a FROM t
SELECT t1.a, t2.b FROM t1 INNER JOIN t2 ON t1.id = t2.id LEFT OUTER JOIN t3 USING (id, k) RIGHT JOIN t4 ON TRUE CROSS JOIN t5 NATURAL JOIN t6 STRAIGHT_JOIN t7
SELECT * FROM t1, t2 AS x, (t3, t4) LEFT JOIN (t5 JOIN t6) ON t3.a = t5.a
SELECT * FROM t USE INDEX (), u IGNORE KEY FOR GROUP BY (k1, k2), v FORCE INDEX FOR ORDER BY (PRIMARY)
SELECT * FROM t PARTITION (p0, p1) AS x WHERE x.a BETWEEN 1 AND 10 AND b NOT BETWEEN -5 AND -1
SELECT * FROM (SELECT 1 AS a UNION SELECT 2) AS d (x), LATERAL (SELECT d.x + 1) AS e
SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u) AND a > ALL (SELECT 1) AND b = ANY (SELECT 2) AND c < SOME (SELECT 3)
SELECT a FROM t1 UNION ALL SELECT b FROM t2 UNION DISTINCT (SELECT c FROM t3 LIMIT 1) ORDER BY a LIMIT 5 OFFSET 10
SELECT 1 INTERSECT SELECT 1 EXCEPT SELECT 2 UNION (VALUES ROW(1))
WITH c AS (SELECT 1 AS a), d (x, y) AS (SELECT a, 2 FROM c) SELECT * FROM c, d WHERE d.x = 1
WITH RECURSIVE seq (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < 100) SELECT SUM(n) FROM seq
TABLE t ORDER BY a LIMIT 10 OFFSET 5
SELECT a FROM t FOR UPDATE NOWAIT
SELECT a FROM t, u FOR SHARE OF t SKIP LOCKED FOR UPDATE OF u
SELECT a FROM t LOCK IN SHARE MODE
SELECT a, b INTO @x, @y FROM t LIMIT 1
SELECT * FROM t INTO OUTFILE '/tmp/x' CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' ESCAPED BY '\\' LINES STARTING BY '' TERMINATED BY '\n'
SELECT * FROM t INTO DUMPFILE '/tmp/y'
SELECT CASE WHEN a = 1 THEN 'x' WHEN a = -1 THEN NULL ELSE -5 END, CASE a WHEN 1 THEN 2 END FROM t
SELECT a FROM t WHERE b LIKE 'x%' ESCAPE '|' AND c NOT LIKE _utf8mb4'y' AND d REGEXP '^a' AND e NOT RLIKE 'b' AND f SOUNDS LIKE 'g'
SELECT a FROM t WHERE MATCH (a, b) AGAINST ('x' IN NATURAL LANGUAGE MODE WITH QUERY EXPANSION)
SELECT a FROM t WHERE a & 1 | 2 ^ 3 << 4 >> 5 DIV 6 MOD 7 % 8
SELECT a || b, a && b, a OR b, a AND b, a XOR b, !a FROM t
SELECT a FROM t WHERE a IS TRUE AND b IS NOT FALSE AND c IS UNKNOWN AND d IS NOT NULL AND e MEMBER OF ('[1, 2]')
SELECT a COLLATE utf8mb4_bin, BINARY a, CAST(a AS BINARY(5)), CONVERT(a, DECIMAL(10, 2)), CONVERT(a USING latin1) FROM t
SELECT CAST(a AS UNSIGNED), CAST(a AS SIGNED INTEGER), CAST(a AS CHAR(10) CHARACTER SET utf8mb4), CAST(a AS JSON), CAST(a AS DATETIME(3)), CAST(a AS TIME), CAST(a AS YEAR), CAST(a AS DOUBLE), CAST(a AS FLOAT(10)), CAST(a AS REAL), CAST(a AS NCHAR(5)) FROM t
SELECT CAST(j->'$.a' AS UNSIGNED ARRAY) FROM t
SELECT COUNT(*), COUNT(1), COUNT(DISTINCT a, b), SUM(DISTINCT a), AVG(a), MIN(a), MAX(a), BIT_AND(a), BIT_OR(a), BIT_XOR(a), STD(a), STDDEV(a), VARIANCE(a), VAR_SAMP(a), ANY_VALUE(a) FROM t
SELECT ROW_NUMBER() OVER w, RANK() OVER (w ORDER BY b), NTILE(4) OVER (), LAG(a, 1, 0) IGNORE NULLS OVER w FROM t WINDOW w AS (PARTITION BY c)
SELECT SUM(a) OVER (ORDER BY b RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND UNBOUNDED FOLLOWING) FROM t
SELECT FIRST_VALUE(a) OVER (ORDER BY b ROWS 5 PRECEDING), NTH_VALUE(a, 2) FROM FIRST RESPECT NULLS OVER (ROWS UNBOUNDED PRECEDING) FROM t
SELECT EXTRACT(YEAR_MONTH FROM d), EXTRACT(DAY FROM d), TRIM(LEADING 'x' FROM s), TRIM(s), SUBSTRING(s FROM 1 FOR 2), SUBSTR(s, 1), MID(s, 1, 2), POSITION('a' IN s), CHAR(65, 66 USING utf8mb4), WEIGHT_STRING(s AS CHAR(5)) FROM t
SELECT DATE_ADD(d, INTERVAL 1 DAY), DATE_SUB(d, INTERVAL '1 2' DAY_HOUR), ADDDATE(d, 5), SUBDATE(d, INTERVAL 1 WEEK), TIMESTAMPADD(SQL_TSI_MINUTE, 5, d), TIMESTAMPDIFF(SECOND, a, b), GET_FORMAT(DATE, 'USA') FROM t
SELECT IF(a, 1, 2), IFNULL(a, NULL), NULLIF(a, 0), COALESCE(NULL, 1, a), GREATEST(1, 2), LEFT(s, 1), RIGHT(s, -1), REPEAT('x', 5), REPLACE(s, 'a', 'b'), INSERT(s, 1, 2, 'x'), MOD(5, 3), TRUNCATE(1.5, 1), INTERVAL(1, 2, 3) FROM t
SELECT VALUES(a), DEFAULT(a), DATABASE(), SCHEMA(), USER(), SESSION_USER(), CURRENT_USER(), VERSION() FROM t
SELECT count (a), now (1) FROM t
SELECT q.f(1), `q`.`f`(a), `f`(1), f (1)
SELECT JSON_OBJECT('a', 1, 'b', NULL), JSON_ARRAY(1, 'x'), doc->'$.a', doc->>'$[0].b', JSON_EXTRACT(doc, '$.a', '$.b'), JSON_VALUE(doc, '$.c' RETURNING DECIMAL(4, 2) DEFAULT -1 ON EMPTY NULL ON ERROR) FROM t
SELECT * FROM JSON_TABLE('[{"a": 1}]', '$[*]' COLUMNS (id FOR ORDINALITY, a INT PATH '$.a' DEFAULT '0' ON EMPTY NULL ON ERROR, b INT EXISTS PATH '$.b', NESTED PATH '$.c[*]' COLUMNS (d JSON PATH '$'))) AS jt
SELECT ST_Distance(ST_GeomFromText('POINT(1 1)', 4326), POINT(1, 2)), ST_AsText(g), LINESTRING(POINT(0, 0), POINT(1, 1)) FROM t
SELECT STRING_TO_VECTOR('[1,2]'), DISTANCE(v, STRING_TO_VECTOR('[1,2]'), 'COSINE') FROM t
SELECT @a, @`a b`, @'c', @"d", @a.b, @$x, @_x
SELECT @@sql_mode, @@GLOBAL.max_connections, @@session.sql_mode, @@local.autocommit, @@`sql_mode`
SELECT @n := @n + 1, @m := -1 FROM t
SELECT GROUPING(a), a FROM t GROUP BY a WITH ROLLUP
SELECT * FROM t AS OF_ WHERE of_.a = 1
SELECT a FROM t HAVING a > 1
SELECT 1 FROM DUAL WHERE 1 = 0
SELECT a FROM t TABLESAMPLE SYSTEM (10)
DO 1, SLEEP(0.1), RELEASE_LOCK('x')
## INSERT, UPDATE, DELETE
INSERT INTO q.t (a, `b`, c) VALUES (1, 'x', NULL)
INSERT LOW_PRIORITY IGNORE INTO t (a) VALUE (1)
INSERT t SET a = 1, b = DEFAULT, c = NULL, d = -1
INSERT INTO t (a, b) VALUES (1, 2) ON DUPLICATE KEY UPDATE a = VALUES(a) + 1, b = b - 1
INSERT INTO t (a, b) VALUES (1, 2), (3, 4) AS n (x, y) ON DUPLICATE KEY UPDATE a = n.x
INSERT INTO t PARTITION (p0) (a) SELECT a, 1, 'x' FROM u WHERE b = 1 ON DUPLICATE KEY UPDATE c = 1
INSERT INTO t TABLE u
INSERT INTO t WITH c AS (SELECT 1) SELECT * FROM c
INSERT INTO t (a) VALUES ((SELECT MAX(b) + 1 FROM u)), (UUID_TO_BIN('x')), (@v)
REPLACE DELAYED INTO t (a, b) VALUES (1, 2)
REPLACE t SET a = 1
UPDATE t SET a = a + 1, b = 'x', c = NULL, d = DEFAULT WHERE id = 5 ORDER BY id LIMIT 10
UPDATE LOW_PRIORITY IGNORE t1, t2 AS x SET t1.a = x.b - 1 WHERE t1.id = x.id
UPDATE t1 LEFT JOIN t2 USING (id) SET t1.a = IF(t2.a IS NULL, 0, -1)
WITH c AS (SELECT 1 AS a) UPDATE t, c SET t.a = c.a
DELETE LOW_PRIORITY QUICK IGNORE FROM t PARTITION (p0) WHERE a = 1 ORDER BY b LIMIT 5
DELETE FROM t AS x WHERE x.a = 1
DELETE t1, t2.* FROM t1 JOIN t2 WHERE t1.id = t2.id
DELETE FROM t1, t2 USING t1 JOIN t2 WHERE t1.id = 1
LOAD DATA CONCURRENT LOCAL INFILE '/tmp/x' REPLACE INTO TABLE t PARTITION (p0) CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' ENCLOSED BY '"' LINES TERMINATED BY '\n' IGNORE 1 LINES (a, @b) SET c = @b + 1, d = NULL
LOAD XML INFILE 'x' INTO TABLE t ROWS IDENTIFIED BY '<row>'
CALL p
CALL q.p(1, 'x', @a, NULL, -1)
CALL sys.heatwave_load(JSON_ARRAY('tpch'), NULL)
CALL sys.ML_TRAIN('q.t', 'target', JSON_OBJECT('task', 'classification'), @model)
HANDLER t OPEN AS h
HANDLER h READ k = (1, 'x') WHERE a > 5 LIMIT 1
HANDLER h READ NEXT
HANDLER h CLOSE
## Session
SET long_query_time = 1
SET autocommit = 0, @x = 'y', @@session.sql_mode = '', GLOBAL max_connections = 100
SET @a := 1, @b = @a + 1, @c = (SELECT 1), @d = NULL, @e = -1
SET NAMES utf8mb4
SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'
SET NAMES DEFAULT
SET CHARACTER SET latin1
SET CHARSET DEFAULT
SET TRANSACTION READ ONLY
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE
SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET PASSWORD = 'x'
SET PASSWORD FOR 'u'@'h' = 'x' REPLACE 'y' RETAIN CURRENT PASSWORD
SET ROLE ALL EXCEPT 'r'@'%', s
SET DEFAULT ROLE NONE TO 'u'@'h'
SET RESOURCE GROUP rg FOR 1, 2
SET PERSIST max_connections = 5, @@PERSIST_ONLY.back_log = 1
SET sql_mode = DEFAULT, time_zone = '+00:00', foreign_key_checks = OFF
USE `my schema`
BEGIN
BEGIN WORK
START TRANSACTION
START TRANSACTION READ WRITE, WITH CONSISTENT SNAPSHOT
COMMIT WORK AND CHAIN NO RELEASE
ROLLBACK AND NO CHAIN RELEASE
SAVEPOINT `s`
ROLLBACK WORK TO SAVEPOINT s
RELEASE SAVEPOINT s
XA START 'a', 'b', 1
XA END X'41'
XA PREPARE 'a'
XA COMMIT 'a' ONE PHASE
XA RECOVER CONVERT XID
LOCK TABLES t READ LOCAL, u AS v WRITE
LOCK INSTANCE FOR BACKUP
UNLOCK TABLES
PREPARE s FROM 'SELECT ?, 1'
PREPARE s FROM @sql
EXECUTE s USING @a, @b
DEALLOCATE PREPARE s
KILL 5
KILL QUERY 5
KILL CONNECTION CONNECTION_ID() + 1
RESET PERSIST IF EXISTS x
FLUSH TABLES t, u WITH READ LOCK
FLUSH NO_WRITE_TO_BINLOG PRIVILEGES, LOGS
HELP 'select'
GET CURRENT DIAGNOSTICS @n = NUMBER, @r = ROW_COUNT
GET DIAGNOSTICS CONDITION 1 @m = MESSAGE_TEXT
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'x', MYSQL_ERRNO = 1000
RESIGNAL
## SHOW, EXPLAIN
SHOW DATABASES LIKE 'x%'
SHOW FULL TABLES FROM q WHERE Table_type = 'VIEW'
SHOW FULL COLUMNS FROM t FROM q LIKE 'a'
SHOW EXTENDED INDEX FROM t WHERE Key_name = 'PRIMARY'
SHOW CREATE TABLE q.t
SHOW CREATE PROCEDURE p
SHOW GLOBAL STATUS LIKE 'Threads%'
SHOW SESSION VARIABLES WHERE Variable_name IN ('a', 'b')
SHOW WARNINGS LIMIT 5, 10
SHOW COUNT(*) WARNINGS
SHOW ERRORS
SHOW ENGINE INNODB STATUS
SHOW ENGINES
SHOW PROCESSLIST
SHOW GRANTS FOR 'u'@'h' USING r
SHOW BINARY LOGS
SHOW BINLOG EVENTS IN 'binlog.000001' FROM 4 LIMIT 2, 5
SHOW REPLICA STATUS FOR CHANNEL 'c'
SHOW TABLE STATUS LIKE 't'
SHOW PROFILE CPU, BLOCK IO FOR QUERY 2 LIMIT 5
SHOW CHARACTER SET LIKE 'utf8%'
SHOW COLLATION WHERE Charset = 'latin1'
SHOW OPEN TABLES IN q
SHOW TRIGGERS
SHOW EVENTS
SHOW PLUGINS
SHOW PRIVILEGES
EXPLAIN SELECT * FROM t WHERE a = 1
EXPLAIN FORMAT=TREE SELECT 1
EXPLAIN FORMAT=JSON INTO @x UPDATE t SET a = 1
EXPLAIN ANALYZE FORMAT=TREE SELECT * FROM t WHERE a IN (1, 2)
EXPLAIN FOR CONNECTION 5
EXPLAIN FOR SCHEMA information_schema SELECT 1
DESCRIBE t a
DESC q.t 'a%'
## Tables
CREATE TABLE IF NOT EXISTS q.t (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT(11) DEFAULT -1, b VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL DEFAULT NULL COMMENT 'x', c DECIMAL(10,2) ZEROFILL, d ENUM('a','b') NOT NULL, e SET('x'), f BIT(8) DEFAULT b'1', g TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), h JSON DEFAULT (JSON_OBJECT()), i DOUBLE PRECISION, j TINYINT(1), k YEAR(4), l CHAR BYTE, m NATIONAL VARCHAR(5), n LONG VARCHAR, o GEOMETRY SRID 4326, p BOOLEAN, q SERIAL) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC COMMENT='t'
CREATE TABLE t (a INT, b INT AS (a + 1) VIRTUAL, c INT GENERATED ALWAYS AS (a * -1) STORED NOT NULL, d INT INVISIBLE, CHECK (a > 0) NOT ENFORCED, CONSTRAINT u UNIQUE KEY k (a, b DESC), FULLTEXT INDEX (c) WITH PARSER ngram, SPATIAL KEY (g), INDEX ((a + 1)), CONSTRAINT f FOREIGN KEY (a) REFERENCES u (b) MATCH FULL ON DELETE SET NULL ON UPDATE CASCADE)
CREATE TABLE t (a INT NOT NULL, PRIMARY KEY (a)) PARTITION BY RANGE (a) SUBPARTITION BY HASH (b) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (10) COMMENT = 'x', PARTITION p1 VALUES LESS THAN MAXVALUE)
CREATE TABLE t (a INT) PARTITION BY LIST COLUMNS (a, b) (PARTITION p0 VALUES IN ((1, 'x'), (2, NULL)), PARTITION p1 VALUES IN ((3, 'y')))
CREATE TABLE t (a INT) PARTITION BY LINEAR KEY ALGORITHM=2 (a) PARTITIONS 4
CREATE TABLE t (a INT) PARTITION BY LIST (a) (PARTITION p0 VALUES IN (1, 2, NULL), PARTITION p1 VALUES IN (3))
CREATE TABLE t (a INT, v VECTOR(3)) SECONDARY_ENGINE=RAPID
CREATE TABLE t LIKE q.u
CREATE TEMPORARY TABLE t SELECT 1 AS a, 'x' AS b
CREATE TABLE t (PRIMARY KEY (a)) IGNORE AS SELECT a FROM u
ALTER TABLE t SECONDARY_ENGINE=RAPID
ALTER TABLE t SECONDARY_LOAD
ALTER TABLE t SECONDARY_UNLOAD
ALTER TABLE t SECONDARY_LOAD PARTITION (p0, p1)
ALTER TABLE t SECONDARY_ENGINE NULL
ALTER TABLE t ADD COLUMN a INT NOT NULL DEFAULT 0 AFTER b, ADD (c INT, d VARCHAR(10)), DROP COLUMN e, MODIFY f BIGINT NULL FIRST, CHANGE g h INT, RENAME COLUMN i TO j, ALTER k SET DEFAULT NULL, ALTER INDEX l INVISIBLE
ALTER TABLE t ADD PRIMARY KEY (a), ADD UNIQUE (b(10)), DROP INDEX c, DROP PRIMARY KEY, DROP FOREIGN KEY f, DROP CHECK g, RENAME INDEX x TO y, ALGORITHM=INPLACE, LOCK=NONE
ALTER TABLE t ENGINE=InnoDB, CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci, COMMENT 'x', AUTO_INCREMENT 100, RENAME TO q.u
ALTER TABLE t ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))
ALTER TABLE t DROP PARTITION p0, p1
ALTER TABLE t TRUNCATE PARTITION ALL
ALTER TABLE t REORGANIZE PARTITION p0 INTO (PARTITION n0 VALUES LESS THAN (5), PARTITION n1 VALUES LESS THAN (10))
ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE u WITHOUT VALIDATION
ALTER TABLE t DISCARD TABLESPACE
ALTER TABLE t ORDER BY a, b DESC
CREATE UNIQUE INDEX i USING BTREE ON t (a(10), b ASC, (LOWER(c))) KEY_BLOCK_SIZE=8 COMMENT 'x' VISIBLE
DROP INDEX i ON t ALGORITHM=DEFAULT
DROP TEMPORARY TABLE IF EXISTS t, q.u CASCADE
TRUNCATE TABLE q.t
RENAME TABLE a TO b, q.c TO d
ANALYZE TABLE t UPDATE HISTOGRAM ON a, b WITH 100 BUCKETS
ANALYZE NO_WRITE_TO_BINLOG TABLE t DROP HISTOGRAM ON a
OPTIMIZE TABLE t
CHECK TABLE t FOR UPGRADE QUICK
CHECKSUM TABLE t, u EXTENDED
REPAIR TABLE t USE_FRM
IMPORT TABLE FROM '/x.sdi'
## Views, programs
CREATE OR REPLACE ALGORITHM=MERGE DEFINER='u'@'h' SQL SECURITY INVOKER VIEW v (a, b) AS SELECT 1, c FROM t WHERE d = 'x' WITH LOCAL CHECK OPTION
CREATE MATERIALIZED VIEW mv AS SELECT a, SUM(b) FROM t GROUP BY a
CREATE OR REPLACE JSON RELATIONAL DUALITY VIEW v AS SELECT JSON_DUALITY_OBJECT('_id': id, 'a': a) FROM t
ALTER VIEW v AS SELECT 1
DROP VIEW IF EXISTS v, w
CREATE PROCEDURE q.p (IN a INT, OUT b VARCHAR(10), INOUT c DECIMAL(5, 2)) COMMENT 'x' LANGUAGE SQL NOT DETERMINISTIC MODIFIES SQL DATA SQL SECURITY DEFINER BEGIN DECLARE x INT DEFAULT -1; DECLARE y, z CHAR(5) DEFAULT NULL; DECLARE cur CURSOR FOR SELECT a FROM t; DECLARE CONTINUE HANDLER FOR SQLSTATE '02000', 1062, NOT FOUND SET x = 1; OPEN cur; l: LOOP FETCH cur INTO y; IF x = 1 THEN LEAVE l; ELSEIF y IS NULL THEN ITERATE l; ELSE SET b = 'z'; END IF; END LOOP l; CLOSE cur; WHILE x < 5 DO SET x = x + 1; END WHILE; REPEAT SET x = x - 1; UNTIL x < 0 END REPEAT; CASE x WHEN 1 THEN SELECT 1; ELSE SELECT 2, 3; END CASE; END
CREATE FUNCTION f (a INT) RETURNS INT DETERMINISTIC RETURN a * -1
CREATE FUNCTION IF NOT EXISTS f RETURNS STRING SONAME 'udf.so'
CREATE TRIGGER tr AFTER UPDATE ON t FOR EACH ROW FOLLOWS other BEGIN INSERT INTO log VALUES (OLD.a, NEW.a, NOW()); SET @x = NEW.b + 1; END
CREATE EVENT e ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01 00:00:00' + INTERVAL 1 HOUR ENDS NOW() ON COMPLETION PRESERVE DISABLE COMMENT 'x' DO DELETE FROM t WHERE a < NOW() - INTERVAL 7 DAY
ALTER EVENT e RENAME TO f ENABLE
DROP PROCEDURE IF EXISTS q.p
CREATE LIBRARY l LANGUAGE JAVASCRIPT AS 'export function f() { return 1; }'
CREATE FUNCTION js(a INT) RETURNS INT LANGUAGE JAVASCRIPT AS 'return a + 1'
## Schemas, accounts, administration
CREATE DATABASE IF NOT EXISTS d DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENCRYPTION='Y'
ALTER SCHEMA d READ ONLY = 1
DROP SCHEMA d
CREATE USER IF NOT EXISTS 'u'@'%' IDENTIFIED WITH 'caching_sha2_password' BY 'x', v@localhost IDENTIFIED BY RANDOM PASSWORD REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 10 PASSWORD EXPIRE INTERVAL 90 DAY FAILED_LOGIN_ATTEMPTS 3 PASSWORD_LOCK_TIME UNBOUNDED ACCOUNT LOCK COMMENT 'x'
CREATE USER u@10.0.0.1 IDENTIFIED BY 'x'
ALTER USER USER() IDENTIFIED BY 'x' REPLACE 'y'
DROP USER 'u'@'h', v
RENAME USER u TO v@'%'
CREATE ROLE r, 's'@'h'
GRANT SELECT (a, b), INSERT, UPDATE ON q.t TO 'u'@'h' WITH GRANT OPTION
GRANT ALL PRIVILEGES ON *.* TO u
GRANT r, s TO u@h WITH ADMIN OPTION
REVOKE IF EXISTS SELECT ON q.* FROM u IGNORE UNKNOWN USER
REVOKE ALL, GRANT OPTION FROM u
INSTALL PLUGIN p SONAME 'p.so'
INSTALL COMPONENT 'file://x' SET a.b = 1
UNINSTALL COMPONENT 'file://x'
CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST '1.2.3.4', PORT 3306, DATABASE 'x')
CREATE TABLESPACE ts ADD DATAFILE 'ts.ibd' FILE_BLOCK_SIZE = 8192 ENGINE = InnoDB
CREATE RESOURCE GROUP rg TYPE = USER VCPU = 0-1 THREAD_PRIORITY = 5
CREATE SPATIAL REFERENCE SYSTEM 4120 NAME 'x' DEFINITION 'y' ORGANIZATION 'z' IDENTIFIED BY 4120
CHANGE REPLICATION SOURCE TO SOURCE_HOST='h', SOURCE_PORT=3306, SOURCE_AUTO_POSITION=1, SOURCE_DELAY=0 FOR CHANNEL 'c'
CHANGE REPLICATION FILTER REPLICATE_DO_DB = (a, b), REPLICATE_WILD_IGNORE_TABLE = ('x.%')
START REPLICA SQL_THREAD UNTIL SQL_AFTER_GTIDS = '00000000-0000-0000-0000-000000000000:1-5'
STOP REPLICA FOR CHANNEL 'c'
RESET REPLICA ALL
RESET BINARY LOGS AND GTIDS TO 5
PURGE BINARY LOGS BEFORE '2020-01-01'
START GROUP_REPLICATION USER='u'
CLONE INSTANCE FROM 'u'@'h':3306 IDENTIFIED BY 'x'
ALTER INSTANCE ROTATE INNODB MASTER KEY
ALTER INSTANCE RELOAD TLS NO ROLLBACK ON ERROR
CACHE INDEX t KEY (k) IN hot
BINLOG 'abc'
SHUTDOWN
RESTART
## Applications
SELECT c FROM sbtest1 WHERE id BETWEEN 1 AND 100
SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN 1 AND 100
SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN 1 AND 100 ORDER BY c
UPDATE sbtest1 SET k=k+1 WHERE id=5
INSERT INTO sbtest1 (id, k, c, pad) VALUES (1, 2, '###', '---')
SELECT `users`.`id` AS `users_id`, `users`.`name` AS `users_name` FROM `users` WHERE `users`.`email` = 'a@b.c' LIMIT 1
SELECT u0_.id AS id_0, u0_.name AS name_1 FROM users u0_ INNER JOIN orders o1_ ON u0_.id = o1_.user_id AND (o1_.state IN ('new', 'paid')) ORDER BY o1_.created_at DESC LIMIT 20 OFFSET 40
SELECT COUNT(*) AS `__count` FROM `auth_user` WHERE (`auth_user`.`is_active` AND NOT (`auth_user`.`id` = 5 AND `auth_user`.`id` IS NOT NULL))
SELECT transaction_type, COUNT(*) AS n, AVG(amount) FROM financial_transactions WHERE status = 'PAID' AND transaction_date >= '2024-01-01' AND transaction_date < DATE_ADD('2024-01-01', INTERVAL 1 MONTH) GROUP BY transaction_type HAVING COUNT(*) > 10 ORDER BY n DESC LIMIT 5
SELECT DATE_FORMAT(transaction_date, '%Y-%m') AS month, SUM(CASE WHEN transaction_type = 'INVOICE' THEN amount ELSE 0 END) AS revenue, SUM(CASE WHEN transaction_type = 'COST' THEN amount ELSE 0 END) AS cost FROM financial_transactions WHERE transaction_date BETWEEN '2024-01-01' AND '2024-12-31' GROUP BY DATE_FORMAT(transaction_date, '%Y-%m') ORDER BY month
## Learnt rule by rule
select 1
select -1, +1, - 1, - -1, 1-1, a-1, (a)-1, a - -1, (-1), f(-1), 'x'-1
select 1,2
select 1,2,a,3,4
select a from t where b in (1) and c in (1,2) and d in (-1,-2) and e in (null) and f in (null,1) and g in (a,1,2)
select a from t where (a,b) in ((1,2),(3,4)) or (a,b)=(1,2) or (a,b) in ((1,2))
insert into t values (1),(2)
insert into t values (1)
insert into t values (1,2),(3,4)
insert into t values (1,2)
insert into t(a,b) values (1,null),(null,null),(default,1) on duplicate key update a=values(a), b=2
select 'a' 'b', _utf8mb4'x', n'x', x'41', 0x41, b'1', 0b1, 1.5, 1e5, .5, 1., '\'' , "x""y"
select null is null, null is not null, not null, true, false, a=null, a<=>null
select @a, @`a b`, @'x', @@sql_mode, @@global.sql_mode, @a:=1
select /*+ max_execution_time(1000) */ 1 /* c */ + 2 -- foo
select /*!80000 1, */ /*!99999 2,*/ 3
select 1;
select * from t limit 5, 10
select * from t limit 10 offset 5
select round(a,2), round(1,2), cast(a as decimal(10,2)), char(1,2), f()
create table q.x (a int default null, b int not null default -1, c varchar(10) null, d enum('a','b') comment 'x') engine=innodb
set names utf8mb4
set names 'utf8mb4'
set @a=1, sql_mode='x', global max_connections=100
show tables like 'x'
show databases
select a as 'x', b 'y' from t
create user 'u'@'h' identified by 'x'
select date '2020-01-01', timestamp'2020-01-01 00:00:00', interval 1 day + a, a + interval -1 day
select case when a=-1 then -2 else -3 end, a between -1 and -5, a like '-1', a % -1, a mod -1, a div -2
prepare s from 'select 1'
execute s using @a
do 1
call p(1,2)
values row(1,2), row(3,4)
select 1 union select 2 union all (select 3)
with recursive c(n) as (select 1 union all select n+1 from c where n<5) select * from c
select json_extract(a,'$.x'), a->'$.x', a->>'$.x'
select a<>1, a!=1, a<=1, a>=1, a<<1, a>>1, a|1, a&1, a^1, ~a, !a, a&&b, a||b, not a
select now(), now (), Substr('a',1,2), mid('abc',1), session_user(), curdate(), count(1), COUNT( a), std(a), var_pop(a), position('a' in 'b'), trim(both 'a' from 'b')
select a.b.c, `a`.`b`, a . b from x
select *, t.* from t
select a-- 1
select a--1
select 1--1
select 1 in (1), 1 not in (1,2), a in (-1), a in ('x','y'), a in (0x41), a in (1+1,2), a in (f(1),2)
select * from t where (a,b,c) in ((1,2,3)) and row(1,2)=row(3,4)
select 1 where 1 limit 1
insert into t set a=1, b='x', c=null
insert into t values (),()
insert into t values (-1),(+2)
insert into t values (1),(1,2)
insert into t values (1,2),(1),(3)
insert into t values (1,2),(now(),1),(3,4),(5,6)
replace into t values (1,2)
insert into t values (1,2) as n(a,b) on duplicate key update a=n.a
update t set a=a+1, b=-1, c=null where id=5 and x in (1,2,3) order by id desc limit 3
delete from t where id between 1 and 2
select * from t partition (p0,p1) where a=1
select /*+ NO_INDEX(t k) BKA(t1,t2) SET_VAR(sort_buffer_size=16M) QB_NAME(`q b`) INDEX(@qb t k) */ 1
select /*+ bad hint here */ 1
select /*+ */ 1
insert /*+ SET_VAR(foreign_key_checks=OFF) */ into t values (1)
/*! select 1 */
/*!50000 select */ /*!40101 2 */ + 1
/*M! select 1 */ select 2
/* a */ select /* b */ 1 # c
select 'a\'b', 'a''b', "a\"b", "a""b", 'a\\', 'é', '\0\n\Z\%'
select 'a'
select X'41', 0X41, B'01', 0b01, x'', 0x4G
select a from t where b like '%x%' escape '\\'
select cast(a as char(10)), cast(a as signed), convert(a, char), convert(a using utf8mb4), cast(a as unsigned integer)
select char(1), char(1,2 using utf8), concat('a',b,'c','d'), if(a,1,2), coalesce(null,1), ifnull(null,null)
select count(distinct a), group_concat(distinct a order by b desc separator ','), json_arrayagg(a), sum(all a)
select row_number() over (partition by a order by b rows between 1 preceding and current row), lag(a,1,0) over w from t window w as (order by a)
select a from t for update skip locked
select a from t lock in share mode
select a into @x from t
select a from t into outfile '/tmp/x' fields terminated by ','
select sql_calc_found_rows a from t
select straight_join a from t force index (k) join u use index for join (k2) on t.a=u.a
select a from t group by a with rollup having count(*)>1
select * from json_table('[1]', '$[*]' columns (a int path '$' null on empty default '1' on error)) as j
select json_value(a,'$' returning char(10) null on empty)
select extract(year from a), date_add(a, interval 1 day), date_add(a, interval '1:1' minute_second), adddate(a,1), timestampadd(day,1,a), timestampdiff(sql_tsi_day,a,b), interval(1,2,3)
select match (a,b) against ('x' in boolean mode)
select a regexp 'x', a rlike 'x', a not rlike 'x', a sounds like 'x', a member of ('[1]')
select (1), ((1)), (1,2), ((1,2),(3,4)), ((1)), (('a'))
select exists(select 1), a > all (select 1), a = any(select 2), a = some(select 3)
set autocommit=0
set session transaction isolation level read committed
set names default
set character set utf8
set charset 'utf8'
set password='x'
set password for 'a'@'b' = 'x'
set persist max_connections=1
begin
begin work
start transaction read only, with consistent snapshot
commit and chain
rollback to savepoint a
savepoint a
release savepoint a
lock tables t read, u as v write
unlock tables
xa start 'x','y',1
xa recover
kill query 5
kill connection 5
kill 5
use q
show variables like 'x%'
show full processlist
show create table t
show columns from t like 'a'
show fields from t
show full tables from q where 1
show index from t
show keys from t
show indexes in t
show engine innodb status
show warnings limit 5
show count(*) errors
show binlog events in 'x' from 4 limit 5
show binary log status
show grants for current_user()
show replica status
desc t
describe t a
explain select 1
explain format=json select 1
explain analyze select 1
explain for connection 5
help 'x'
flush tables with read lock
flush privileges, status
reset binary logs and gtids
purge binary logs to 'x'
analyze table t update histogram on a with 5 buckets
optimize local table t
check table t quick
checksum table t
repair table t
load data local infile 'x' into table t fields terminated by ',' lines starting by 'x' ignore 1 lines (a,@b) set c=@b
handler t open
handler t read first limit 5
truncate table t
truncate t
rename table a to b
alter table t secondary_load
alter table t add column c int not null default 0 after b, drop index k, add unique key k2 (a(10),b desc)
create index i on t (a, (a+1))
create unique index i on t(a) using btree comment 'x' invisible
create table t (a int primary key auto_increment, b decimal(10,2) unsigned zerofill, c timestamp(6) default current_timestamp(6) on update now(6)) charset=utf8mb4 collate utf8mb4_bin partition by range (a) (partition p0 values less than (10), partition p1 values less than maxvalue)
create table t like u
create temporary table t select 1 as a
create or replace view v as select 1 with cascaded check option
create algorithm=merge definer='a'@'b' sql security invoker view v as select 1
create procedure p(in a int, out b varchar(10)) begin declare x int default 5; set x=1; select 'a', x; end
create function f(a int) returns int deterministic return a+1
create trigger tr before insert on t for each row set new.a=1
create event e on schedule every 1 day do select 1
create database d default character set utf8
drop database if exists d
drop table if exists a, b
create user u@localhost identified with caching_sha2_password by 'x' require ssl account lock
grant select, insert(a) on q.* to 'u'@'h' with grant option
revoke all privileges on *.* from u
grant r to u
create role r
signal sqlstate '45000' set message_text='x'
get diagnostics @a=number
install plugin p soname 'x'
change replication source to source_host='x', source_port=3306
start replica
clone local data directory '/x'
table t
table t order by a limit 1
values row(1), row(2)
(select 1) union (select 2) order by 1 limit 1
select 1 intersect select 2 except select 3
select * from (select 1 as a) as d, lateral (select 2) as e
select * from t1 left join (t2, t3) on t1.a=t2.a natural join t4 cross join t5 using (x)
select * from {oj t left outer join u on t.a=u.a}
select {d '2020-01-01'}, {ts '2020-01-01 00:00:00'}
do sleep(1), release_lock('x')
delete t1, t2 from t1 join t2 where t1.a=t2.a
delete quick from t
update low_priority ignore t1, t2 set t1.a=t2.a
insert high_priority ignore into t (a) select 1 from u
insert into t partition (p0) (a) values (default)
insert into t select 1,2 union select 3,4
insert into t table u
call q.p()
call p
create materialized view mv as select 1
create table t (a vector(3))
select a -> '$.b' from t
create library l language javascript as 'x'
alter user user() identified by 'x'
alter instance rotate innodb master key
restart
shutdown
import table from 'x'
select current_timestamp, current_timestamp(6), localtime, utc_date, current_user, current_user(), database(), schema(), user(), version()
select `a``b`, `Status`, status, t.status from t
select @a, 1, @b, 'x', @c
select 1 order by 1
select a from t group by 1 order by 2, a+1, 1+1
select a from t group by 1, 2 with rollup
select a from t order by 1 desc, 3
select a, row_number() over (partition by 1 order by 2) from t
select group_concat(a order by 1) from t
update t set a=1 order by 1
select 1 order by '1', null, -1, (1)
select (1),(2)
select (1),(1,2),(3,4)
select 'x' collate utf8mb4_bin, _utf8mb4'x' collate utf8mb4_bin, _latin1 'a' 'b'
select _utf8mb4 x'41', _utf8mb4 0x41, _utf8mb4 b'1'
select _foo 'x' from t
select N'x', n'x', nx from t
select 1.e5, 1.5e-10, 1E+5, .5e3
select - -1, - - -1, +-1, a*-1, a/-1, a--1 , a=+1, a=- 1, (-1,-2), f(-1,-2), -a, -(1), -'1', -0x41, -@a
select -1.5, -1e5, -null, - true, !-1, not -1, ~-1, a and -1, a or -1, a xor -1
select a, -1 from t where -1 and a in (-1) having -1 order by -1
select a from t where a > -1 and a<-1 and a>=-1 and a<=-1 and a<>-1 and a!=-1 and a<=>-1 and a<<-1 and a>>-1 and a|-1 and a&-1 and a^-1 and a||-1 and a&&-1
select all -1;
select distinct -1
select distinctrow -1
select interval -1 day + a, a + interval -1 day
select straight_join -1 from t
select sql_no_cache -1 from t
select high_priority -1
select a from t group by -1
select a from t on_ where a=-1 limit 1
select a from t join u on -1
insert into t values (-1,+1,-null)
insert into t values (- 1, 1 - 1, -a)
select count(distinct -1), count(all -1), sum(-1), max( -1)
select a like -1 escape -1
select a regexp -1, a rlike -1, a not like -1
select case -1 when -1 then -1 else -1 end
select if(-1,-2,-3), coalesce(-1), round(-1.5), mod(-1,2), left('a',-1), repeat('a',-1)
select a between -1 and +1, a not between -1 and -1, a in (-1)
select a div -1, a mod -1, a % -1
select a, -1 as b, +1 c
do -1
call p(-1)
select -1 union select -1 union all select -1
create table t (a int default -1, b int default +1, check (a > -1))
create table t (a int default null null, b int null default null, c int not null, d timestamp null default null on update now())
create table t (a int, foreign key (a) references u(b) on delete set null on update set null)
alter table t alter a set default -1, alter b set default null
create table t (a int as (-1), b int generated always as (a+-1) stored)
create function f() returns int return -1
create function f() returns int return null
create procedure p() begin case -1 when -1 then select 1; else select -1; end case; end
select timestampadd(day,-1,a), adddate(a,-1), adddate(a, interval -1 day), date_sub(a, interval -1 day)
select a from t order by a limit 1 offset 2
create table t (a int) partition by range(a) (partition p values less than (-1))
create table t (a int) partition by list(a) (partition p values in (-1,-2,null), partition q values in (1))
select a from t where a is not null and not null and b is not null or c is null
select * from json_table('[1]', '$[*]' columns (a int path '$' null on empty null on error, b int path '$' default '1' on empty error on error)) as j
update t set a=null, b=default, c=-1 where d<=>null
select null, null, 1, null
select (null), (null,1), f(null)
select a=(null), a in (null,null), (a,b)=(null,null)
values row(null), row(-1)
insert into t values (null),(null)
insert into t values (1,null),(null,2),(null,null)
load data infile 'x' into table t (a,b) set a=null, b=nullif(b,'')
select null union select null
select 1 from dual where null
select nullif(1,null), isnull(null)
grant all on t.* to ''@'%'
select /*+ set_var(a='x') set_var(b=1.5) qb_name(x) */ 1
select /*+ JOIN_ORDER(t1@qb1, `t 2`@`q`) MAX_EXECUTION_TIME(10) RESOURCE_GROUP(rg) */ 1
select /*+ unknown(a) */ 1
select /*+ BKA(t) */ /*+ NO_BKA(t) */ 1
select 1 /*+ BKA(t) */
(select /*+ BKA(t) */ 1) union (select /*+ bka(t) */ 2)
update /*+ BKA(t) */ t set a=1
delete /*+ BKA(t) */ from t
replace /*+ BKA(t) */ t values(1)
with c as (select 1) select /*+ BKA(t) */ 1 from c
explain /*+ BKA(t) */ select 1
create view v as select /*+ BKA(t) */ 1
select /*+ INDEX(t k1, k2) INDEX_MERGE(t) NO_RANGE_OPTIMIZATION(t PRIMARY) SEMIJOIN(FIRSTMATCH, LOOSESCAN) SUBQUERY(@a MATERIALIZATION) */ 1
select a , b from t where `a`='1' and t.`b`="2"
select a.select, a.`from`, status.x from a
select x.now(), q.f(1), q.`g`(1,2), now.a from t
select @ a
select a from t as of_ where 1=1
select date'2020-01-01', time'10:00', date '2020-01-01' + interval 1 day
select 1 div 2, 5 % 3, 5 mod 3
select b'', B'1', x'', X'AB', 0xAB, 0b11, 0x, 0b
select a1.b2.c3 from t1 t2
select 1a from t
select 1e5a from t
select 1e from t
select t.1 from t
select a from t order by a, 1
select a from t order by a desc, 1, 2
select a from t order by f(1), 1
select a from t order by a+1, 2
select a from t order by 1+a, 2
select a from t order by 1+1, 2
select a from t order by (1), 2
select a from t order by 1 collate utf8mb4_bin
select a from t order by 1.0, '1', 3, 0x1, 2
select a from t order by a in (1), 2
select a from t group by 1 having 1
select a from t group by 1 order by null
select a from t group by 1+2, 3
select (select a from t order by 1, 2), 3, 4
select a from t order by (select 1 from u order by 2, 3), 4
select sum(a) over (order by 1, 2 rows 1 preceding), 5, 6 from t
select group_concat(a order by 1, 2 separator ','), 7
delete from t order by 1 limit 1
select a from t order by 1 limit 2, 3
select a from t order by 99999999999999999999, 1
select a from t order by case when 1 then 2 end, 1
select a from t order by -1, 2
select a from t order by 2, -1, 3
alter table t order by a, b
select a from t order by field(a, 1, 2), 1 desc, 2 asc
select a from t group by a with rollup order by 1
select a from t where a >= all (select -1)
select a from t where exists (select -1)
select a from t having -1
select a in (-1) , not -1, (-1), -1
select a collate utf8mb4_bin -1
select timestamp -1
select binary -1
select all +1, distinct_ -1
insert into t set a=-1
insert into t value (-1)
select row(-1,2)
select values(a) -1
update t set a=- 1 where b between - 1 and + 1 limit 1
select @a := -1
select cast(-1 as signed), convert(-1, char), convert(-1 using utf8mb4)
select extract(year from -1)
select a from t where match(a) against (-1)
select position('a' in -1), trim(both -1 from -1), substring(a from -1 for -2)
select case when a then -1 when not -1 then +1 end
set @a = -1
set autocommit = -1
select exists (select - 1), any_value(-1), interval(-1, -2)
select a from t where a = some (values row(-1))
select if(a, -1, -1) from t group by a, -1
kill -1
select ! 1, ! -1, ~ 1
select a, if(1, null, 2), null and null, null or 1, null xor null, not null = 1, null between null and null, null like null escape null, null div null, null mod null
select case null when null then null else null end
select distinct null
select all null
select * from t where null having null order by null limit 1
select * from t join u on null group by null
set @a=null
do null
call p(null, @a)
select null collate utf8mb4_bin
select (null) + null
select binary null, interval null day + a, -null, +null, !null, ~null
select null as a, null b
select cast(null as char), convert(null, char), convert(null using utf8mb4)
select char(null using utf8mb4), trim(null), trim(both null from null), position(null in null), substring(null from null for null)
select row(null, null), exists(select null)
select row_number() over (partition by null order by null)
select group_concat(null order by null)
select first_value(null) over w, nth_value(null, 1) ignore nulls over () from t
select lag(a, 1, null) over ()
insert into t set a = null
insert into t value (null)
insert into t(a) values (null) on duplicate key update a=null
signal sqlstate '45000' set message_text=null
alter table t modify a int null, change b c int default null null
alter table t add column (a int null, b int not null)
create procedure p(a int) begin if a is null then select null; elseif null then set a=1; end if; while null do select 1; end while; end
create table t (a int check (a is not null), b json default (null), c int default (null))
create table t (a int generated always as (null) virtual null)
select /*+ BKA(t) 5 'x' "y" @q `z` 1.5 -1 5K a.b {} */ 1
select /*+ SET_VAR(a=-1) */ 1
select /*+ SET_VAR(a=5K) QB_NAME(é) */ 1
select /*+ BKA(t) bad */ 1
insert into t select /*+ BKA(t) */ 1
select /*+BKA(t)*/1
select /* x */ /*+ BKA(t)*/ 1
select /*!80000 /*+ BKA(t) */ 1 */
load /*+ BKA(t) */ data infile 'x' into table t
table /*+ BKA(t) */ t
call /*+ SET_VAR(a=1) */ p()
create /*+ SET_VAR(a=1) */ table t (a int)
## Line breaks
SELECT a -- comment{NL}, b{NL}FROM t
SELECT a # comment{NL}, b{TAB}FROM t
SELECT /* one{NL}two */ a{NL}FROM t{NL}WHERE b = 'x{NL}y'{NL}
SELECT a --{NL}FROM t
SELECT 'a'{NL}'b'
