// One client program for Go's database/sql with go-sql-driver/mysql. Prints what it sees, one line an observation, each beginning with
// `text` (values put in by the client) or `binary` (statements of the server); nothing that differs from run to run.
// Where and how to connect is in the environment: see tests/clients/run.
package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Put in by the build.
var version = "?"

var ctx = context.Background()

func config(mode string) *mysql.Config {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.DBName = os.Getenv("CLIENT_USER"), os.Getenv("CLIENT_PASSWORD"), os.Getenv("CLIENT_SCHEMA")
	c.Net, c.Addr = "tcp", os.Getenv("CLIENT_HOST")+":"+os.Getenv("CLIENT_PORT")
	c.MultiStatements, c.ParseTime, c.InterpolateParams = true, true, mode == "text"
	c.TLSConfig = "false"
	if os.Getenv("CLIENT_TLS") == "yes" {
		c.TLSConfig = "skip-verify"
	}
	return c
}

func open(c *mysql.Config) *sql.DB {
	connector, err := mysql.NewConnector(c)
	if err != nil {
		log.Fatal(err)
	}
	return sql.OpenDB(connector)
}

func shown(value any) string {
	switch v := value.(type) {
	case nil:
		return "NULL"
	case []byte:
		if len(v) > 200 {
			return fmt.Sprintf("bytes %d %x", len(v), sha256.Sum256(v))
		}
		return fmt.Sprintf("bytes %q", v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case string:
		return fmt.Sprintf("%q", v)
	default:
		return fmt.Sprintf("%T %v", v, v)
	}
}

func say(mode, section string, words ...any) {
	text := strings.TrimSuffix(fmt.Sprintln(words...), "\n")
	fmt.Printf("%s %s: %s\n", mode, strings.ReplaceAll(section, "\n", " "), strings.ReplaceAll(text, "\n", "\\n"))
}

func errorShown(err error) string {
	var failure *mysql.MySQLError
	if errors.As(err, &failure) {
		return fmt.Sprintf("error %d %s %s", failure.Number, failure.SQLState[:], failure.Message)
	}
	return "error " + err.Error()
}

// All rows of all result sets.
func answers(mode, section string, rows *sql.Rows) {
	defer rows.Close()
	for {
		types, _ := rows.ColumnTypes()
		var columns, all []string
		for _, t := range types {
			length, _ := t.Length()
			precision, scale, _ := t.DecimalSize()
			nullable, _ := t.Nullable()
			columns = append(columns, fmt.Sprintf("%s:%s:%d:%d:%d:%t:%s", t.Name(), t.DatabaseTypeName(), length, precision, scale, nullable, t.ScanType()))
		}
		for rows.Next() {
			values, places := make([]any, len(types)), make([]any, len(types))
			for at := range values {
				places[at] = &values[at]
			}
			if err := rows.Scan(places...); err != nil {
				say(mode, section, "scan", errorShown(err))
				return
			}
			var texts []string
			for _, value := range values {
				texts = append(texts, shown(value))
			}
			all = append(all, "("+strings.Join(texts, ", ")+")")
		}
		say(mode, section, strings.Join(columns, ","), strings.Join(all, " "))
		if !rows.NextResultSet() {
			break
		}
	}
	if err := rows.Err(); err != nil {
		say(mode, section, errorShown(err))
	}
}

func brings(text string) bool {
	for _, word := range []string{"SELECT", "SHOW", "WITH", "EXPLAIN", "CHECKSUM", "CALL", "EXECUTE"} {
		if strings.HasPrefix(text, word) {
			return true
		}
	}
	return false
}

// In binary mode a statement goes to the server to be prepared, whether it has parameters or not.
func run(conn *sql.Conn, mode, section, text string, values ...any) {
	var statement *sql.Stmt
	var err error
	if mode == "binary" {
		if statement, err = conn.PrepareContext(ctx, text); err != nil {
			say(mode, section, errorShown(err))
			var failure *mysql.MySQLError
			if errors.As(err, &failure) && failure.Number == 1295 {
				// What the server does not prepare goes as text, so that the rest of the script finds what it needs.
				run(conn, "text", section, text)
			}
			return
		}
		defer statement.Close()
	}
	if brings(text) && !strings.Contains(text, "; INSERT") {
		var rows *sql.Rows
		if statement != nil {
			rows, err = statement.QueryContext(ctx, values...)
		} else {
			rows, err = conn.QueryContext(ctx, text, values...)
		}
		if err == nil {
			answers(mode, section, rows)
		}
	} else {
		var result sql.Result
		if statement != nil {
			result, err = statement.ExecContext(ctx, values...)
		} else {
			result, err = conn.ExecContext(ctx, text, values...)
		}
		if err == nil {
			id, _ := result.LastInsertId()
			count, _ := result.RowsAffected()
			say(mode, section, "rows", count, "id", id)
		}
	}
	if err != nil {
		say(mode, section, errorShown(err))
	}
}

func script(conn *sql.Conn, mode string) {
	text, err := os.ReadFile(os.Getenv("CLIENT_SCRIPT"))
	if err != nil {
		log.Fatal(err)
	}
	number := 0
	for _, block := range strings.Split(string(text), "\n\n") {
		if strings.HasPrefix(block, "--") {
			continue
		}
		run(conn, mode, fmt.Sprintf("script %d %.30s", number, block), strings.TrimSpace(block))
		number++
	}
}

func parameters(conn *sql.Conn, mode string) {
	day := time.Date(2024, 2, 29, 1, 2, 3, 456789000, time.UTC)
	given := [][]any{
		{1, -5, uint64(5), 1.25, "12.340000", "plain", []byte{0, 255}, day, "-30:00:00.000005", day, []byte(`{"a": 1}`)},
		{2, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil},
		{3, int64(-1 << 63), uint64(1<<64 - 1), -1e300, "-99999999999999.999999", "🐬 ' \" \\ ü%", []byte("'\"\\"), "1000-01-01", "00:00:00", "9999-12-31 23:59:59", "[]"},
		{4, false, true, float32(0.5), 0.1, "", []byte{}, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), "23:00:01", time.Unix(0, 0).UTC(), `"x"`},
	}
	run(conn, mode, "given", "DELETE FROM given")
	for _, row := range append(given, given[0]) {
		run(conn, mode, "given", "INSERT INTO given VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row...)
	}
	for _, at := range []int{0, 2, 9, 1} {
		run(conn, mode, "given", "SELECT * FROM given WHERE id > ? ORDER BY id", at)
	}
	statement, err := conn.PrepareContext(ctx, "SELECT id, t, ? AS given FROM given WHERE id >= ? ORDER BY id")
	if err != nil {
		say(mode, "statement", errorShown(err))
		return
	}
	defer statement.Close()
	for _, values := range [][]any{{"a", 1}, {7, 3}, {nil, 4}, {"🐬", 99}} {
		rows, err := statement.QueryContext(ctx, values...)
		if err != nil {
			say(mode, "statement", errorShown(err))
			continue
		}
		answers(mode, "statement", rows)
	}
}

func transactions(conn *sql.Conn, mode string) {
	for _, commit := range []bool{false, true} {
		tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		if err != nil {
			say(mode, "transaction", errorShown(err))
			return
		}
		_, err = tx.Exec("INSERT INTO counters VALUES (?, ?)", 100, 7)
		say(mode, "transaction", err)
		if commit {
			say(mode, "transaction", tx.Commit())
		} else {
			say(mode, "transaction", tx.Rollback())
		}
		run(conn, mode, "transaction", "SELECT * FROM counters WHERE id > ?", 50)
	}
	run(conn, mode, "clean", "DELETE FROM counters WHERE id > 50")
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err == nil {
		_, err = tx.Exec("DELETE FROM counters")
		say(mode, "read only", errorShown(err))
		say(mode, "read only", tx.Rollback())
	}
}

func calls(conn *sql.Conn, mode string) {
	run(conn, mode, "call", "SET @c = 'in'")
	for _, number := range []int{4, 5} {
		run(conn, mode, "call", "CALL two(?, @b, @c)", number)
	}
	for _, text := range []string{"SELECT @b, @c", "CALL quiet()", "CALL refuses('no ü')", "SELECT 'in step'"} {
		run(conn, mode, "call", text)
	}
	if mode == "text" {
		run(conn, mode, "multi", "SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c")
		run(conn, mode, "multi", "INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60; DO 1")
		run(conn, mode, "multi", "SELECT 1; SELECT * FROM missing; SELECT 3")
		run(conn, mode, "multi", "SELECT 'in step'")
	}
}

func failing(conn *sql.Conn, mode string) {
	for _, text := range []string{"SELEKT", "SELECT * FROM missing", "INSERT INTO counters VALUES (1, 1)", "INSERT INTO counters VALUES (NULL, 1)",
		"SELECT (SELECT id FROM many)", "CALL nowhere()", "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünï'", "KILL QUERY 4000000000", "USE nowhere"} {
		run(conn, mode, "error", text)
	}
	for _, spoil := range []func(*mysql.Config){
		func(c *mysql.Config) { c.Passwd = "wrong" }, func(c *mysql.Config) { c.User = "nobody" }, func(c *mysql.Config) { c.DBName = "nowhere" },
	} {
		c := config(mode)
		spoil(c)
		db := open(c)
		if err := db.Ping(); err != nil {
			say(mode, "login", errorShown(err))
		} else {
			say(mode, "login", "let in")
		}
		db.Close()
	}
	// A deadline breaks the connection in the middle of a statement; the pool goes on with another.
	db := open(config(mode))
	defer db.Close()
	soon, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err := db.ExecContext(soon, "DO SLEEP(5)")
	say(mode, "deadline", err, db.Ping())
}

func large(conn *sql.Conn, mode string) {
	run(conn, mode, "large", "INSERT INTO large (b) VALUES (?)", []byte(strings.Repeat("abcdefghijklm", 1371205)))
	run(conn, mode, "large", "SELECT id, b, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id")
	run(conn, mode, "large", "TRUNCATE TABLE large")
}

func load(conn *sql.Conn) {
	mysql.RegisterLocalFile(os.Getenv("CLIENT_FILE"))
	mysql.RegisterReaderHandler("own", func() io.Reader { return strings.NewReader("10,ten,10\n11,eleven,11\n") })
	mysql.RegisterReaderHandler("long", func() io.Reader { return strings.NewReader(strings.Repeat("1,same,1\n", 100000)) })
	for _, name := range []string{os.Getenv("CLIENT_FILE"), "Reader::own", "Reader::long", "/not/registered"} {
		run(conn, "text", "load", "LOAD DATA LOCAL INFILE '"+name+"' INTO TABLE loaded FIELDS TERMINATED BY ','")
	}
	run(conn, "text", "load", "SELECT * FROM loaded ORDER BY id")
	run(conn, "text", "load", "TRUNCATE TABLE loaded")
}

func streams(conn *sql.Conn, mode string) {
	total := 0
	rows, err := conn.QueryContext(ctx, "SELECT id, t FROM many WHERE id > ? ORDER BY id", 5)
	if err != nil {
		say(mode, "stream", errorShown(err))
		return
	}
	for rows.Next() {
		var id int
		var t string
		if rows.Scan(&id, &t) == nil {
			total += id + len(t)
		}
	}
	say(mode, "stream", total, rows.Err())
	if rows, err = conn.QueryContext(ctx, "SELECT id FROM many"); err == nil {
		rows.Next()
		say(mode, "stream", rows.Close())
	}
	run(conn, mode, "stream", "SELECT 'in step'")
}

func sessions(mode string) {
	c := config(mode)
	c.Params = map[string]string{"time_zone": "'+03:00'", "sql_mode": "'ANSI'"}
	c.ClientFoundRows = true
	c.Collation = "latin1_swedish_ci"
	db := open(c)
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		say(mode, "session", errorShown(err))
		return
	}
	defer conn.Close()
	run(conn, mode, "session", "SET @x = 1")
	run(conn, mode, "session", "SELECT @x, DATABASE(), USER(), @@time_zone, @@sql_mode, @@collation_connection, 'ü'")
	run(conn, mode, "session", "UPDATE counters SET n = 0")
	say(mode, "session", conn.PingContext(ctx))
	_ = conn.Raw(func(raw any) error {
		say(mode, "session", raw.(driver.SessionResetter).ResetSession(ctx), raw.(driver.Validator).IsValid())
		return nil
	})
}

func pools(mode string) {
	db := open(config(mode))
	defer db.Close()
	db.SetMaxOpenConns(4)
	var wait sync.WaitGroup
	var lock sync.Mutex
	var failures []string
	work := func(number int) error {
		for turn := range 25 {
			id := 1 + (number+turn)%4
			tx, err := db.Begin()
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err = tx.Exec("UPDATE counters SET n = n + 1 WHERE id = ?", id); err != nil {
				return err
			}
			var n int
			if err = tx.QueryRow("SELECT n FROM counters WHERE id = ?", id).Scan(&n); err != nil || n < 1 {
				return fmt.Errorf("%d %w", n, err)
			}
			end := tx.Commit
			if turn%5 == 3 {
				end = tx.Rollback
			}
			if err = end(); err != nil {
				return err
			}
		}
		return nil
	}
	for number := range 6 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if err := work(number); err != nil {
				lock.Lock()
				failures = append(failures, errorShown(err))
				lock.Unlock()
			}
		}()
	}
	wait.Wait()
	say(mode, "pool", failures)
	conn, err := db.Conn(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	run(conn, mode, "pool", "SELECT * FROM counters ORDER BY id")
	run(conn, mode, "pool", "UPDATE counters SET n = 0")
}

func main() {
	fmt.Println("version", version)
	_ = mysql.SetLogger(log.New(io.Discard, "", 0))
	for _, mode := range []string{"text", "binary"} {
		schema := os.Getenv("CLIENT_SCHEMA")
		db := open(config(mode))
		if _, err := db.Exec("DROP DATABASE " + schema + "; CREATE DATABASE " + schema); err != nil {
			log.Fatal(err)
		}
		db.Close()
		db = open(config(mode))
		conn, err := db.Conn(ctx)
		if err != nil {
			log.Fatal(err)
		}
		for _, part := range []func(*sql.Conn, string){script, parameters, transactions, calls, failing, large, streams} {
			part(conn, mode)
		}
		if mode == "text" {
			load(conn)
		}
		conn.Close()
		db.Close()
		sessions(mode)
		pools(mode)
	}
}
