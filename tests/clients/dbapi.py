"""One client program for the Python drivers with the DB-API: PyMySQL, mysqlclient, mysql-connector-python (pure and C).

    dbapi.py pymysql|mysqlclient|connector-pure|connector-c

Prints what it sees, one line an observation, each beginning with `text` or `binary`; nothing that differs from run to run.
Where and how to connect is in the environment: see tests/clients/run.
"""

import datetime
import decimal
import hashlib
import importlib.metadata
import os
import re
import sys
import threading

DRIVER = sys.argv[1]
TLS = os.environ["CLIENT_TLS"] == "yes"
HOST, PORT = os.environ["CLIENT_HOST"], int(os.environ["CLIENT_PORT"])
USER, PASSWORD, SCHEMA = (os.environ[name] for name in ("CLIENT_USER", "CLIENT_PASSWORD", "CLIENT_SCHEMA"))

if DRIVER == "pymysql":
    import pymysql as module
    from pymysql.constants import CLIENT
    from pymysql import cursors
elif DRIVER == "mysqlclient":
    import MySQLdb as module
    from MySQLdb import cursors
else:
    import mysql.connector as module
CONNECTOR = DRIVER.startswith("connector")
PACKAGE = "mysql-connector-python" if CONNECTOR else DRIVER


def connect(**more):
    """A connection of the driver under test, with TLS or surely without."""
    arguments = dict(host=HOST, port=PORT, user=USER, password=PASSWORD, database=SCHEMA, charset="utf8mb4")
    if DRIVER == "pymysql":
        arguments.update(client_flag=CLIENT.MULTI_STATEMENTS, local_infile=True)
        arguments.update(dict(ssl={"check_hostname": False}) if TLS else dict(ssl_disabled=True))
    elif DRIVER == "mysqlclient":
        arguments.update(local_infile=1, read_default_file=os.environ["CLIENT_OPTIONS"])
    else:
        arguments.update(use_pure=DRIVER == "connector-pure", ssl_disabled=not TLS, allow_local_infile=True)
    arguments.update(more)
    return module.connect(**arguments)


def shown(value):
    """A value with its type, short, and the same in every run."""
    if isinstance(value, (bytes, bytearray)):
        value = bytes(value)
        return f"bytes {len(value)} {hashlib.md5(value).hexdigest()}" if len(value) > 40 else repr(value)
    if isinstance(value, str) and len(value) > 200:
        return f"str {len(value)} {hashlib.md5(value.encode()).hexdigest()}"
    if isinstance(value, (set, frozenset)):
        return repr(sorted(value))
    return repr(value)


def row_shown(row):
    return "(" + ", ".join(shown(value) for value in row) + ")"


def error_shown(error):
    if CONNECTOR and isinstance(error, module.Error):
        return f"error {type(error).__name__} {error.errno} {error.sqlstate} {error.msg}"
    return re.sub(" at 0x[0-9a-f]+", "", f"error {type(error).__name__} {error.args}")


def say(mode, section, *words):
    text = " ".join(str(word) for word in words).replace("\n", "\\n")
    print(mode, section + ":", text, flush=True)


def cursor_of(conn, mode):
    return conn.cursor(prepared=True) if mode == "binary" else conn.cursor()


def outcome(cursor):
    """Everything that one statement brought: rows of all its result sets, or counts."""
    parts = []
    while True:
        if cursor.description:
            names = [(column[0], column[1]) for column in cursor.description]
            rows = cursor.fetchall()
            parts.append(f"{names} " + " ".join(row_shown(row) for row in rows))
        parts.append(f"rows {cursor.rowcount} id {cursor.lastrowid}")
        if not getattr(cursor, "nextset", lambda: None)():
            return " | ".join(parts)


def run(conn, mode, section, sql, parameters=None):
    """Runs one statement on a cursor of its own and prints what comes."""
    if (DRIVER, mode) == ("connector-c", "binary") and any(words in sql for words in ("EXP(", "= (SELECT 1", "(SELECT id")):
        # It never gets over an error among the rows of a prepared statement.
        return
    failed = None
    try:
        cursor = cursor_of(conn, mode)
    except Exception as error:
        # mysql-connector-python loses its place, and its connection, after some answers that it does not expect.
        say(mode, section, error_shown(error), "and connects again")
        conn.reconnect()
        cursor = cursor_of(conn, mode)
    try:
        if parameters is None:
            cursor.execute(sql)
        else:
            cursor.execute(sql, parameters)
        say(mode, section, outcome(cursor))
        if CONNECTOR:
            say(mode, section, "warnings", cursor.warning_count)
    except Exception as error:
        say(mode, section, error_shown(error))
        if CONNECTOR and conn.unread_result:
            conn.consume_results()
        failed = error
    finally:
        try:
            cursor.close()
        except Exception as error:
            say(mode, section, "closing", error_shown(error))
    # What the server does not prepare goes as text, so that the rest of the script finds what it needs.
    if mode == "binary" and getattr(failed, "errno", 0) == 1295:
        run(conn, "text", section, sql)


def script(conn, mode):
    with open(os.environ["CLIENT_SCRIPT"], encoding="utf-8") as file:
        blocks = [block for block in file.read().split("\n\n") if not block.startswith("--")]
    for number, sql in enumerate(blocks):
        run(conn, mode, f"script {number} {sql[:30]}", sql.strip())


GIVEN = [
    (1, -5, 5, 1.25, decimal.Decimal("12.340000"), "plain", b"\x00\xff", datetime.date(2024, 2, 29),
     datetime.timedelta(hours=-30, microseconds=5), datetime.datetime(2024, 2, 29, 1, 2, 3, 456789), '{"a": 1}'),
    (2, None, None, None, None, None, None, None, None, None, None),
    (3, -(2**63), 2**64 - 1, -1e300, decimal.Decimal("-99999999999999.999999"), "🐬 ' \" \\ ü%", b"'\"\\", datetime.date(1000, 1, 1),
     datetime.timedelta(0), datetime.datetime(9999, 12, 31, 23, 59, 59), "[]"),
    (4, 0, 0, 0.1, decimal.Decimal("0.1"), "", b"", datetime.date(9999, 12, 31),
     datetime.timedelta(hours=23, seconds=1), datetime.datetime(1970, 1, 1), '"x"'),
]


def parameters(conn, mode):
    """One statement executed again and again, with values of every type."""
    conn.commit()
    cursor = cursor_of(conn, mode)
    cursor.execute("DELETE FROM given")
    insert = "INSERT INTO given VALUES (" + ", ".join(["%s"] * 11) + ")"
    for row in GIVEN + GIVEN[:1]:
        try:
            cursor.execute(insert, row)
            say(mode, "given", cursor.rowcount)
        except Exception as error:
            say(mode, "given", error_shown(error))
    cursor.close()
    cursor = cursor_of(conn, mode)
    for at in (0, 2, 9, 1):
        cursor.execute("SELECT * FROM given WHERE id > %s ORDER BY id", (at,))
        for row in cursor.fetchall():
            say(mode, "given", row_shown(row))
    cursor.close()
    cursor = cursor_of(conn, mode)
    try:
        cursor.executemany("INSERT INTO given (id, t) VALUES (%s, %s)", [(number, "m" * number) for number in range(10, 30)])
        say(mode, "many", cursor.rowcount)
        cursor.executemany("UPDATE given SET t = %s WHERE id = %s", [("up", 10), ("up", 11), ("up", 99)])
        say(mode, "many", cursor.rowcount)
    finally:
        cursor.close()
    conn.rollback()
    run(conn, mode, "given", "SELECT COUNT(*) FROM given")


def transactions(conn, mode):
    for end in ("rollback", "commit"):
        conn.autocommit = False if CONNECTOR else conn.autocommit
        conn.autocommit(False) if not CONNECTOR else None
        run(conn, mode, end, "INSERT INTO counters VALUES (%s, %s)", (100 + len(end), 7))
        getattr(conn, end)()
        run(conn, mode, end, "SELECT * FROM counters WHERE id > 50")
    run(conn, mode, "clean", "DELETE FROM counters WHERE id > 50")
    conn.commit()
    if CONNECTOR:
        conn.start_transaction(consistent_snapshot=True, isolation_level="READ COMMITTED")
        say(mode, "in transaction", conn.in_transaction)
        run(conn, mode, "snapshot", "SELECT COUNT(*) FROM counters")
        conn.rollback()
        say(mode, "in transaction", conn.in_transaction)
    conn.autocommit = True if CONNECTOR else conn.autocommit
    conn.autocommit(True) if not CONNECTOR else None


def calls(conn, mode):
    run(conn, mode, "call", "CALL two(4, @b, @c)")
    run(conn, mode, "call", "SELECT @b, @c")
    run(conn, mode, "call", "CALL quiet()")
    run(conn, mode, "call", "CALL refuses('no ü')")
    if mode == "binary":
        return
    cursor = conn.cursor()
    try:
        out = cursor.callproc("two", (5, 0, "in"))
        say(mode, "callproc", out)
        if CONNECTOR:
            for result in cursor.stored_results():
                say(mode, "callproc", result.fetchall())
        else:
            say(mode, "callproc", outcome(cursor))
            cursor.execute("SELECT @_two_0, @_two_1, @_two_2")
            say(mode, "callproc", cursor.fetchall())
    except Exception as error:
        say(mode, "callproc", error_shown(error))
    cursor.close()
    multi = "SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c; INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60"
    run(conn, mode, "multi", multi)
    run(conn, mode, "multi with an error", "SELECT 1; SELECT * FROM missing; SELECT 3")
    run(conn, mode, "after", "SELECT 'in step'")


def errors(conn, mode):
    for sql in ("SELEKT", "SELECT * FROM missing", "INSERT INTO counters VALUES (1, 1)", "INSERT INTO counters VALUES (NULL, 1)",
                "SELECT (SELECT id FROM many)", "CALL nowhere()", "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünï'",
                "SELECT * FROM mysql.user WHERE 1 = (SELECT 1 UNION SELECT 2)", "KILL QUERY 4000000000", "USE nowhere"):
        run(conn, mode, "error", sql)
    for wrong in (dict(password="wrong"), dict(user="nobody"), dict(database="nowhere")):
        try:
            connect(**wrong)
            say(mode, "login", "let in")
        except Exception as error:
            say(mode, "login", error_shown(error))


def large(conn, mode):
    """Values beyond one packet of the protocol (16 MiB) in both directions."""
    value = bytes(range(256)) * (4096 * 17)
    cursor = cursor_of(conn, mode)
    cursor.execute("INSERT INTO large (b) VALUES (%s)", (value,))
    say(mode, "large", cursor.rowcount, cursor.lastrowid)
    cursor.close()
    # The pure connector cannot put together a prepared statement's row of more than one packet.
    whole = "id" if (DRIVER, mode) == ("connector-pure", "binary") else "b"
    run(conn, mode, "large", f"SELECT id, {whole}, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id")
    run(conn, mode, "large", "TRUNCATE TABLE large")


def load(conn):
    conn.commit()
    file = os.environ["CLIENT_FILE"]
    run(conn, "text", "load", f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE loaded FIELDS TERMINATED BY ','")
    run(conn, "text", "load", "SHOW WARNINGS")
    run(conn, "text", "load", "SELECT * FROM loaded ORDER BY id")
    if DRIVER != "connector-pure":
        # That one leaves the server waiting for the file until both give up.
        run(conn, "text", "load", "LOAD DATA LOCAL INFILE '/nowhere/at/all' INTO TABLE loaded")
    run(conn, "text", "load", "TRUNCATE TABLE loaded")


def sessions(mode):
    """Commands that change the session as a whole."""
    conn = connect()
    run(conn, mode, "session", "SET @x = 1")
    if CONNECTOR:
        conn.ping()
        conn.cmd_reset_connection()
        run(conn, mode, "session", "SELECT @x")
        conn.cmd_change_user(USER, PASSWORD, SCHEMA)
        conn.database = "mysql"
        say(mode, "session", conn.database)
        conn.reset_session(user_variables={"y": 3}, session_variables={"sql_mode": "ANSI"})
        run(conn, mode, "session", "SELECT @y, @@sql_mode, DATABASE()")
        conn.reconnect()
    elif DRIVER == "pymysql":
        conn.ping()
        conn.select_db("mysql")
        conn.set_character_set("latin1")
        run(conn, mode, "session", "SELECT @x, DATABASE(), 'ü', @@character_set_client")
        conn.close()
        conn.connect()
    else:
        conn.ping()
        conn.select_db("mysql")
        conn.set_character_set("latin1")
        run(conn, mode, "session", "SELECT @x, DATABASE(), 'ü', @@character_set_client")
        conn.change_user(USER, PASSWORD, SCHEMA)
        say(mode, "session", conn.sqlstate(), conn.warning_count())
    run(conn, mode, "session", "SELECT @x, DATABASE(), USER(), CURRENT_USER(), CHARSET('')")
    if not CONNECTOR:
        say(mode, "session", conn.get_server_info())
    conn.close()
    conn = connect(charset="latin1")
    run(conn, mode, "latin1", "SELECT 'ü', LENGTH('ü'), CHARSET('ü'), COLLATION('a')")
    conn.close()


def streams(conn, mode):
    """Rows read one by one from an open answer; one answer is left before its end."""
    if CONNECTOR:
        cursor = conn.cursor(prepared=True) if mode == "binary" else conn.cursor(buffered=False)
    else:
        cursor = conn.cursor(cursors.SSCursor)
    cursor.execute("SELECT id, t FROM many ORDER BY id")
    total = 0
    for row in cursor:
        total += row[0] + len(row[1])
    say(mode, "stream", total)
    cursor.close()
    if not CONNECTOR:
        cursor = conn.cursor(cursors.SSCursor)
        cursor.execute("SELECT id, t FROM many ORDER BY id")
        say(mode, "stream", cursor.fetchmany(3))
        cursor.close()
    run(conn, mode, "stream", "SELECT 'in step'")


def pools(mode):
    """Four threads, each with transactions of its own."""
    pool = None
    if CONNECTOR:
        from mysql.connector.pooling import MySQLConnectionPool

        arguments = dict(host=HOST, port=PORT, user=USER, password=PASSWORD, database=SCHEMA, ssl_disabled=not TLS)
        pool = MySQLConnectionPool(pool_name=f"p{mode}", pool_size=4, use_pure=DRIVER == "connector-pure", **arguments)
    failures = []

    def work(number):
        try:
            for turn in range(25):
                conn = pool.get_connection() if pool else connect() if turn % 5 == 0 else conn
                cursor = cursor_of(conn, mode)
                cursor.execute("UPDATE counters SET n = n + 1 WHERE id = %s", (1 + (number + turn) % 4,))
                cursor.execute("SELECT n > 0 FROM counters WHERE id = %s", (1 + (number + turn) % 4,))
                cursor.fetchall()
                cursor.close()
                conn.rollback() if turn % 5 == 3 else conn.commit()
                if pool or turn % 5 == 4:
                    conn.close()
        except Exception as error:
            failures.append(error_shown(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    conn = connect()
    say(mode, "pool", failures)
    run(conn, mode, "pool", "SELECT * FROM counters ORDER BY id")
    run(conn, mode, "pool", "UPDATE counters SET n = 0")
    conn.commit()
    conn.close()


def main():
    print("version", importlib.metadata.version(PACKAGE))
    for mode in ("text", "binary") if CONNECTOR else ("text",):
        conn = connect()
        run(conn, mode, "clean", f"DROP DATABASE {SCHEMA}")
        run(conn, mode, "clean", f"CREATE DATABASE {SCHEMA}")
        conn.close()
        conn = connect()
        if CONNECTOR:
            conn.autocommit = True
        else:
            conn.autocommit(True)
        for part in (script, parameters, transactions, calls, errors, large, streams):
            part(conn, mode)
        if mode == "text":
            load(conn)
        conn.close()
        sessions(mode)
        pools(mode)


main()
