-- State of a session: variables, schema, transactions, temporary tables, prepared statements in SQL.

SELECT @@autocommit, @@sql_mode, @@character_set_client, @@collation_connection, DATABASE();

SET NAMES latin1;

SELECT 'é' AS umlaut, @@character_set_results;

SET NAMES utf8mb4 COLLATE utf8mb4_bin;

SET time_zone = '+03:00';

SELECT FROM_UNIXTIME(86400);

SET SESSION sql_mode = 'ANSI_QUOTES';

SELECT "quoted" FROM (SELECT 1 AS quoted) q;

SET SESSION sql_mode = DEFAULT;

SET @a = 5, @b = 'text', @c = NULL, @d = 1.50;

-- prepared
SELECT @a, @b, @c, @d;

CREATE TABLE t (a INT PRIMARY KEY);

BEGIN;

INSERT INTO t VALUES (1);

SAVEPOINT s1;

INSERT INTO t VALUES (2);

ROLLBACK TO SAVEPOINT s1;

RELEASE SAVEPOINT s1;

COMMIT;

-- prepared
SELECT * FROM t;

START TRANSACTION READ ONLY;

INSERT INTO t VALUES (3);

ROLLBACK;

SET autocommit = 0;

INSERT INTO t VALUES (4);

ROLLBACK AND CHAIN;

COMMIT AND NO CHAIN;

SET autocommit = 1;

SET TRANSACTION ISOLATION LEVEL READ COMMITTED;

START TRANSACTION WITH CONSISTENT SNAPSHOT;

COMMIT;

CREATE TEMPORARY TABLE t (z VARCHAR(3));

INSERT INTO t VALUES ('tmp');

SELECT * FROM t;

DROP TEMPORARY TABLE t;

SELECT * FROM t;

PREPARE p FROM 'SELECT ? + a FROM t';

SET @x = 10;

EXECUTE p USING @x;

DEALLOCATE PREPARE p;

USE other;

SELECT DATABASE();

SELECT a FROM diff.t;

CREATE TABLE here (a INT);

SHOW TABLES;

USE diff;

LOCK TABLES t WRITE;

SELECT * FROM t;

UNLOCK TABLES;

SELECT GET_LOCK('tidegate-diff', 1);

SELECT RELEASE_LOCK('tidegate-diff'), IS_FREE_LOCK('tidegate-diff');

SET SESSION group_concat_max_len = 5;

SELECT GROUP_CONCAT(a, a, a, a, a, a, a) FROM t;

SHOW WARNINGS;

SET SESSION sql_select_limit = 1;

SELECT 1 UNION ALL SELECT 2;

SET SESSION sql_select_limit = DEFAULT;

SHOW SESSION VARIABLES LIKE 'group_concat_max_len';

SELECT @@session.time_zone, @@div_precision_increment;

FLUSH TABLES t;
