// One client program for MariaDB Connector/J. Prints what it sees, one line an observation, each beginning with `text` (values put in by
// the client) or `binary` (statements of the server); nothing that differs from run to run. Environment: see tests/clients/run.

import java.io.ByteArrayInputStream;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.sql.*;
import java.util.*;
import java.util.concurrent.*;

public final class Jdbc {
    static String mode;

    static String env(String name) {
        return System.getenv("CLIENT_" + name);
    }

    static String url(String schema, String more) {
        String tls = env("TLS").equals("yes") ? "trust" : "disable";
        return "jdbc:mariadb://" + env("HOST") + ":" + env("PORT") + "/" + schema + "?sslMode=" + tls + "&allowMultiQueries=true&allowLocalInfile=true"
            + "&allowPublicKeyRetrieval=true&connectionTimeZone=UTC&preserveInstants=false&useServerPrepStmts=" + mode.equals("binary") + more;
    }

    static Connection connect(String more) throws SQLException {
        return DriverManager.getConnection(url(env("SCHEMA"), more), env("USER"), env("PASSWORD"));
    }

    static String digest(byte[] bytes) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }

    static String shown(Object value) throws Exception {
        if (value instanceof byte[] bytes) {
            return bytes.length > 40 ? "bytes " + bytes.length + " " + digest(bytes) : "bytes " + HexFormat.of().formatHex(bytes);
        }
        if (value instanceof Blob blob) {
            return "blob " + shown(blob.getBytes(1, (int) blob.length()));
        }
        if (value instanceof String text) {
            return text.length() > 200 ? "string " + text.length() + " " + digest(text.getBytes("UTF-8")) : '"' + text + '"';
        }
        return value == null ? "NULL" : value.getClass().getSimpleName() + " " + value;
    }

    static void say(String section, Object... words) {
        StringJoiner text = new StringJoiner(" ");
        for (Object word : words) {
            text.add(String.valueOf(word));
        }
        System.out.println(mode + " " + section.replace("\n", " ") + ": " + text.toString().replace("\n", "\\n"));
    }

    static String errorShown(SQLException error) {
        return "error " + error.getErrorCode() + " " + error.getSQLState() + " " + error.getClass().getSimpleName() + " "
            + String.valueOf(error.getMessage()).replaceAll("\\(conn=\\d+\\)", "");
    }

    static void rows(String section, ResultSet result) throws Exception {
        ResultSetMetaData meta = result.getMetaData();
        StringJoiner columns = new StringJoiner(",");
        for (int at = 1; at <= meta.getColumnCount(); at++) {
            columns.add(meta.getColumnLabel(at) + ":" + meta.getTableName(at) + ":" + meta.getColumnTypeName(at) + ":" + meta.getPrecision(at) + ":"
                + meta.getScale(at) + ":" + meta.isNullable(at) + ":" + meta.isAutoIncrement(at) + ":" + meta.isSigned(at));
        }
        StringJoiner all = new StringJoiner(" ");
        while (result.next()) {
            StringJoiner row = new StringJoiner(", ", "(", ")");
            for (int at = 1; at <= meta.getColumnCount(); at++) {
                String text;
                try {
                    text = shown(result.getObject(at));
                } catch (SQLException error) {
                    text = errorShown(error);
                }
                row.add(text);
            }
            all.add(row.toString());
        }
        say(section, columns, all);
    }

    // Everything that one execution brings.
    static void answers(String section, Statement statement, boolean first) throws Exception {
        boolean isRows = first;
        while (isRows || statement.getUpdateCount() != -1) {
            if (isRows) {
                rows(section, statement.getResultSet());
            } else {
                StringJoiner keys = new StringJoiner(",");
                try (ResultSet result = statement.getGeneratedKeys()) {
                    while (result.next()) {
                        keys.add(result.getString(1));
                    }
                }
                say(section, "rows", statement.getUpdateCount(), "keys", keys);
            }
            isRows = statement.getMoreResults();
        }
        for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) {
            say(section, "warning", warning.getErrorCode(), warning.getSQLState(), warning.getMessage());
        }
    }

    static void run(Connection conn, String section, String sql, Object... values) throws Exception {
        try (PreparedStatement statement = conn.prepareStatement(sql, Statement.RETURN_GENERATED_KEYS)) {
            for (int at = 0; at < values.length; at++) {
                statement.setObject(at + 1, values[at]);
            }
            answers(section, statement, statement.execute());
        } catch (SQLException error) {
            say(section, errorShown(error));
        }
    }

    static void script(Connection conn) throws Exception {
        int number = 0;
        for (String block : Files.readString(Path.of(env("SCRIPT"))).split("\n\n")) {
            if (!block.startsWith("--")) {
                run(conn, "script " + number++ + " " + block.substring(0, Math.min(30, block.length())), block.strip());
            }
        }
    }

    static void parameters(Connection conn) throws Exception {
        Object[][] given = {
            {1, -5, 5L, 1.25, new BigDecimal("12.340000"), "plain", new byte[] {0, -1}, java.sql.Date.valueOf("2024-02-29"), "-30:00:00.000005",
                Timestamp.valueOf("2024-02-29 01:02:03.456789"), "{\"a\": 1}"},
            {2, null, null, null, null, null, null, null, null, null, null},
            {3, Long.MIN_VALUE, new java.math.BigInteger("18446744073709551615"), -1e300, new BigDecimal("-99999999999999.999999"), "🐬 ' \" \\ ü%",
                "'\"\\".getBytes(), java.time.LocalDate.of(1000, 1, 1), java.time.LocalTime.of(0, 0), java.time.LocalDateTime.of(9999, 12, 31, 23, 59, 59), "[]"},
            {4, (short) 0, (byte) 0, 0.5f, 0.1, "", new byte[0], "9999-12-31", Time.valueOf("23:00:01"), "1970-01-01", "\"x\""},
        };
        String insert = "INSERT INTO given VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        run(conn, "given", "DELETE FROM given");
        for (Object[] row : given) {
            run(conn, "given", insert, row);
        }
        run(conn, "given", insert, given[0]);
        try (PreparedStatement statement = conn.prepareStatement("SELECT * FROM given WHERE id > ? ORDER BY id")) {
            for (int at : new int[] {0, 2, 9, 1}) {
                statement.setInt(1, at);
                rows("given", statement.executeQuery());
            }
        }
        try (PreparedStatement statement = conn.prepareStatement("INSERT INTO given (id, t) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
            for (int id = 20; id < 25; id++) {
                statement.setInt(1, id == 23 ? 20 : id);
                statement.setString(2, "b".repeat(id));
                statement.addBatch();
            }
            say("batch", Arrays.toString(statement.executeBatch()));
        } catch (BatchUpdateException error) {
            say("batch", errorShown(error), Arrays.toString(error.getUpdateCounts()));
        }
        run(conn, "batch", "SELECT COUNT(*) FROM given");
    }

    static void transactions(Connection conn) throws Exception {
        conn.setAutoCommit(false);
        conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        for (boolean commit : new boolean[] {false, true}) {
            run(conn, "transaction", "INSERT INTO counters VALUES (?, ?)", 100, 7);
            Savepoint one = conn.setSavepoint("one");
            run(conn, "transaction", "INSERT INTO counters VALUES (?, ?)", 101, 7);
            conn.rollback(one);
            if (commit) {
                conn.commit();
            } else {
                conn.rollback();
            }
            run(conn, "transaction", "SELECT * FROM counters WHERE id > ?", 50);
        }
        run(conn, "transaction", "DELETE FROM counters WHERE id > 50");
        conn.setAutoCommit(true);
        conn.setReadOnly(true);
        run(conn, "read only", "DELETE FROM counters");
        conn.setReadOnly(false);
        say("transaction", conn.getTransactionIsolation(), conn.getCatalog());
    }

    static void calls(Connection conn) throws Exception {
        try (CallableStatement call = conn.prepareCall("{CALL two(?, ?, ?)}")) {
            for (int number : new int[] {4, 5}) {
                call.setInt(1, number);
                call.registerOutParameter(2, Types.INTEGER);
                call.setString(3, "in");
                call.registerOutParameter(3, Types.VARCHAR);
                answers("call", call, call.execute());
                say("call", "out", call.getInt(2), call.getString(3));
            }
        } catch (SQLException error) {
            say("call", errorShown(error));
        }
        try (CallableStatement call = conn.prepareCall("{? = CALL doubled(?)}")) {
            call.registerOutParameter(1, Types.INTEGER);
            call.setInt(2, 21);
            call.execute();
            say("function", call.getInt(1));
        } catch (SQLException error) {
            say("function", errorShown(error));
        }
        run(conn, "call", "CALL quiet()");
        run(conn, "call", "CALL refuses('no ü')");
        try (Statement statement = conn.createStatement()) {
            answers("multi", statement, statement.execute("SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c; INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60"));
            answers("multi", statement, statement.execute("SELECT 1; SELECT * FROM missing; SELECT 3"));
        } catch (SQLException error) {
            say("multi", errorShown(error));
        }
        run(conn, "after", "SELECT 'in step'");
    }

    static void errors(Connection conn) throws Exception {
        for (String sql : List.of("SELEKT", "SELECT * FROM missing", "INSERT INTO counters VALUES (1, 1)", "INSERT INTO counters VALUES (NULL, 1)",
            "SELECT (SELECT id FROM many)", "CALL nowhere()", "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünï'", "KILL QUERY 4000000000", "USE nowhere")) {
            run(conn, "error", sql);
        }
        String[][] wrong = {{env("SCHEMA"), env("USER"), "wrong"}, {env("SCHEMA"), "nobody", "x"}, {"nowhere", env("USER"), env("PASSWORD")}};
        for (String[] more : wrong) {
            try {
                DriverManager.getConnection(url(more[0], ""), more[1], more[2]).close();
                say("login", "let in");
            } catch (SQLException error) {
                say("login", errorShown(error));
            }
        }
        try (Statement statement = conn.createStatement()) {
            statement.setQueryTimeout(1);
            statement.execute("DO SLEEP(20)");
            say("timeout", "none");
        } catch (SQLException error) {
            say("timeout", errorShown(error));
        }
        run(conn, "timeout", "SELECT 'in step'");
    }

    static void large(Connection conn) throws Exception {
        byte[] value = "abcdefghijklm".repeat(1371205).getBytes();
        run(conn, "large", "INSERT INTO large (b) VALUES (?)", value);
        try (PreparedStatement statement = conn.prepareStatement("INSERT INTO large (b) VALUES (?)")) {
            statement.setBinaryStream(1, new ByteArrayInputStream(value));
            say("large", statement.executeUpdate());
        }
        run(conn, "large", "SELECT id, b, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id");
        run(conn, "large", "TRUNCATE TABLE large");
    }

    static void load(Connection conn) throws Exception {
        run(conn, "load", "LOAD DATA LOCAL INFILE '" + env("FILE") + "' INTO TABLE loaded FIELDS TERMINATED BY ','");
        run(conn, "load", "SELECT * FROM loaded ORDER BY id");
        run(conn, "load", "LOAD DATA LOCAL INFILE '/nowhere/at/all' INTO TABLE loaded");
        run(conn, "load", "TRUNCATE TABLE loaded");
    }

    static void streams(Connection conn) throws Exception {
        long total = 0;
        try (PreparedStatement statement = conn.prepareStatement("SELECT id, t FROM many WHERE id > ? ORDER BY id")) {
            statement.setFetchSize(100);
            statement.setInt(1, 5);
            ResultSet result = statement.executeQuery();
            while (result.next()) {
                total += result.getInt(1) + result.getString(2).length();
            }
            say("stream", total);
            statement.setInt(1, 7000);
            ResultSet left = statement.executeQuery();
            left.next();
            say("stream", left.getInt(1));
        }
        run(conn, "stream", "SELECT 'in step'");
    }

    static void sessions() throws Exception {
        try (Connection conn = connect("&sessionVariables=sql_mode='ANSI',time_zone='+03:00'&useAffectedRows=true")) {
            run(conn, "session", "SET @x = 1");
            run(conn, "session", "UPDATE counters SET n = 0");
            run(conn, "session", "SELECT @x, DATABASE(), USER(), @@time_zone, @@sql_mode");
            conn.setCatalog("mysql");
            say("session", conn.isValid(5), conn.getCatalog());
            DatabaseMetaData meta = conn.getMetaData();
            say("session", meta.getDatabaseProductName(), meta.getDatabaseProductVersion(), meta.getUserName());
            rows("session", meta.getColumns(env("SCHEMA"), null, "numbers", "%"));
            rows("session", meta.getIndexInfo(env("SCHEMA"), null, "numbers", false, false));
            rows("session", meta.getProcedureColumns(env("SCHEMA"), null, "two", "%"));
        } catch (SQLException error) {
            say("session", errorShown(error));
        }
    }

    static void pools() throws Exception {
        var failures = new ConcurrentLinkedQueue<String>();
        String place = url(env("SCHEMA"), "&maxPoolSize=4&minPoolSize=1&user=" + env("USER") + "&password=" + env("PASSWORD"));
        try (var pool = new org.mariadb.jdbc.MariaDbPoolDataSource(place)) {
            var threads = Executors.newFixedThreadPool(6);
            for (int number = 0; number < 6; number++) {
                int from = number;
                threads.submit(() -> {
                    for (int turn = 0; turn < 25; turn++) {
                        try (Connection conn = pool.getConnection()) {
                            conn.setAutoCommit(false);
                            try (PreparedStatement update = conn.prepareStatement("UPDATE counters SET n = n + 1 WHERE id = ?")) {
                                update.setInt(1, 1 + (from + turn) % 4);
                                update.executeUpdate();
                            }
                            if (turn % 5 == 3) {
                                conn.rollback();
                            } else {
                                conn.commit();
                            }
                        } catch (SQLException error) {
                            failures.add(errorShown(error));
                        }
                    }
                });
            }
            threads.shutdown();
            threads.awaitTermination(120, TimeUnit.SECONDS);
        }
        say("pool", failures);
        try (Connection conn = connect("")) {
            run(conn, "pool", "SELECT * FROM counters ORDER BY id");
            run(conn, "pool", "UPDATE counters SET n = 0");
        }
    }

    public static void main(String[] arguments) throws Exception {
        System.setOut(new java.io.PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), true, "UTF-8"));
        mode = "text";
        try (Connection conn = connect("")) {
            System.out.println("version " + conn.getMetaData().getDriverVersion());
        }
        for (String each : List.of("text", "binary")) {
            mode = each;
            try (Connection conn = connect("")) {
                run(conn, "clean", "DROP DATABASE " + env("SCHEMA"));
                run(conn, "clean", "CREATE DATABASE " + env("SCHEMA"));
            }
            try (Connection conn = connect("")) {
                script(conn);
                parameters(conn);
                transactions(conn);
                calls(conn);
                errors(conn);
                large(conn);
                streams(conn);
                if (mode.equals("text")) {
                    load(conn);
                }
            }
            sessions();
            pools();
        }
        System.exit(0);
    }
}
