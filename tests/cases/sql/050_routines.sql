-- Several results: procedures, several statements in one text, and both with errors in the middle.

CREATE TABLE t (a INT PRIMARY KEY, b INT);

INSERT INTO t VALUES (1, 10), (2, 20);

CREATE PROCEDURE two_results(IN n INT, OUT total INT)
BEGIN
  SELECT a FROM t WHERE a <= n;
  SELECT b, 'second' FROM t WHERE a <= n ORDER BY b DESC;
  SELECT SUM(b) INTO total FROM t;
END;

CALL two_results(2, @total);

SELECT @total;

-- parameters: 1
CALL two_results(?, @total);

CREATE PROCEDURE fails()
BEGIN
  SELECT 'before';
  SELECT * FROM missing;
  SELECT 'after';
END;

CALL fails();

CREATE PROCEDURE changes()
BEGIN
  UPDATE t SET b = b + 1;
  INSERT INTO t VALUES (3, 30);
END;

CALL changes();

CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;

-- prepared
SELECT twice(b) FROM t ORDER BY a;

CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.b = IFNULL(NEW.b, -1);

INSERT INTO t (a) VALUES (4);

CREATE VIEW w AS SELECT a, b FROM t WHERE a < 3;

SELECT * FROM w ORDER BY a;

SELECT 1; SELECT 'two', 2; INSERT INTO t VALUES (5, 50); SELECT COUNT(*) FROM t;

SELECT 1; SELECT * FROM missing; SELECT 3;

SET @v = 1; SELECT @v; USE other; SELECT DATABASE(); USE diff;

BEGIN; INSERT INTO t VALUES (6, 60); ROLLBACK; SELECT COUNT(*) FROM t;

CALL two_results(1, @z); SELECT @z; CALL two_results(2, @z);

SELECT 1;;

DROP PROCEDURE two_results; DROP PROCEDURE fails; DROP PROCEDURE changes; DROP FUNCTION twice; DROP VIEW w;

-- A cursor inside a procedure leaves its bit on the rows that the client gets; they are rows at once all the same.
CREATE PROCEDURE walks() BEGIN DECLARE c CURSOR FOR SELECT 1; OPEN c; CLOSE c; SELECT 1 AS walked; END;

-- prepared
CALL walks();
