-- Errors of every stage, and what is left after them.

SELECT * FROM missing;

SELEKT 1;

SELECT nocolumn FROM (SELECT 1 AS a) q;

-- prepared
SELECT 1 FROM missing_too;

CREATE TABLE t (a INT PRIMARY KEY, b TINYINT);

INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);

INSERT INTO t VALUES (1, 1);

SHOW ERRORS;

GET DIAGNOSTICS @n = NUMBER;

INSERT INTO t VALUES (4, 999);

-- An error in the middle of the rows.
SELECT a, IF(a = 3, (SELECT a FROM t), a) FROM t ORDER BY a;

-- parameters: 1
-- parameters: 3
SELECT a, IF(a = ?, (SELECT a FROM t), a) FROM t ORDER BY a;

SELECT CAST('abc' AS SIGNED), 1/0;

SHOW WARNINGS;

SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'own words', MYSQL_ERRNO = 31001;

USE nosuchschema;

SELECT DATABASE();

KILL QUERY 999999999;

-- Empty and nearly empty texts.
/* nothing */

SELECT 1 -- trailing words

SELECT /*+ NO_ICP(t) */ a FROM t WHERE a = 2;

SELECT /*! 1 */ AS version_comment;

ALTER TABLE t ADD PRIMARY KEY (b);

SELECT 1 UNION SELECT 1, 2;

SELECT @@nosuchvariable;

SET nosuchvariable = 1;

CALL nosuchprocedure();

EXECUTE nosuchstatement;

ROLLBACK TO nosuchsavepoint;
