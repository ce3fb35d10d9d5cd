<?php
// One client program for PHP's mysqli (mysqlnd). Prints what it sees, one line an observation, each beginning with `text` or `binary`;
// nothing that differs from run to run. Where and how to connect is in the environment: see tests/clients/run.
declare(strict_types=1);
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

function connect(array $more = []): mysqli
{
    $tls = getenv('CLIENT_TLS') === 'yes';
    $conn = mysqli_init();
    $conn->options(MYSQLI_OPT_LOCAL_INFILE, 1);
    if ($tls) {
        $conn->ssl_set(null, null, null, null, null);
    }
    $flags = ($tls ? MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_DONT_VERIFY_SERVER_CERT : 0) | ($more['flags'] ?? 0);
    $host = ($more['persistent'] ?? '') . getenv('CLIENT_HOST');
    $schema = $more['schema'] ?? getenv('CLIENT_SCHEMA');
    $conn->real_connect($host, $more['user'] ?? getenv('CLIENT_USER'), $more['password'] ?? getenv('CLIENT_PASSWORD'), $schema, (int) getenv('CLIENT_PORT'), null, $flags);
    $conn->set_charset('utf8mb4');
    return $conn;
}

function shown(mixed $value): string
{
    if (is_string($value)) {
        return strlen($value) > 200 ? 'string ' . strlen($value) . ' ' . hash('sha256', $value) : (json_encode($value, JSON_UNESCAPED_UNICODE) ?: 'x' . bin2hex($value));
    }
    return is_array($value) ? '(' . implode(', ', array_map(shown(...), $value)) . ')' : var_export($value, true);
}

function say(string $mode, string $section, mixed ...$words): void
{
    echo $mode, ' ', str_replace("\n", ' ', $section), ': ', str_replace("\n", '\n', implode(' ', array_map(fn ($word) => is_string($word) ? $word : shown($word), $words))), "\n";
}

function error_shown(mysqli_sql_exception $error): string
{
    return "error {$error->getCode()} {$error->getSqlState()} {$error->getMessage()}";
}

function result_shown(mysqli_result $result): string
{
    $columns = array_map(fn ($field) => "$field->name:$field->orgtable:$field->type:$field->flags:$field->length:$field->decimals:$field->charsetnr", $result->fetch_fields());
    $rows = array_map(shown(...), $result->fetch_all(MYSQLI_NUM));
    return implode(',', $columns) . ' ' . implode(' ', $rows);
}

// All that one text statement brings; more statements in one text bring more.
function text_run(mysqli $conn, string $section, string $sql, string $mode = 'text'): void
{
    try {
        $conn->multi_query($sql);
        do {
            $result = $conn->store_result();
            say($mode, $section, $result ? result_shown($result) : 'done', $conn->affected_rows, $conn->insert_id, $conn->warning_count, $conn->info ?? '-');
        } while ($conn->more_results() && $conn->next_result());
    } catch (mysqli_sql_exception $error) {
        say($mode, $section, error_shown($error));
    }
}

function binary_run(mysqli $conn, string $section, string $sql, array $values = []): void
{
    try {
        $statement = $conn->prepare($sql);
        statement_run($conn, $statement, $section, $values);
        $statement->close();
    } catch (mysqli_sql_exception $error) {
        say('binary', $section, error_shown($error));
        // What the server does not prepare goes as text, so that the rest of the script finds what it needs.
        if ($error->getCode() === 1295) {
            text_run($conn, $section, $sql, 'binary');
        }
    }
}

function statement_run(mysqli $conn, mysqli_stmt $statement, string $section, array $values): void
{
    $statement->execute($values ?: null);
    do {
        $result = $statement->get_result();
        say('binary', $section, $result ? result_shown($result) : 'done', $statement->affected_rows, $statement->insert_id, $conn->warning_count, $statement->param_count);
    } while ($statement->more_results() && $statement->next_result());
}

function run(mysqli $conn, string $mode, string $section, string $sql, array $values = []): void
{
    if ($mode === 'binary') {
        binary_run($conn, $section, $sql, $values);
        return;
    }
    foreach ($values as $value) {
        $text = match (true) { $value === null => 'NULL', is_string($value) => "'" . $conn->real_escape_string($value) . "'", default => var_export($value, true) };
        $sql = substr_replace($sql, $text, strpos($sql, '?'), 1);
    }
    text_run($conn, $section, $sql);
}

function script(mysqli $conn, string $mode): void
{
    $blocks = array_values(array_filter(explode("\n\n", file_get_contents(getenv('CLIENT_SCRIPT'))), fn ($block) => !str_starts_with($block, '--')));
    foreach ($blocks as $number => $sql) {
        run($conn, $mode, "script $number " . substr($sql, 0, 30), trim($sql));
    }
}

const GIVEN = [
    [1, -5, 5, 1.25, '12.340000', 'plain', "\x01\x7f", '2024-02-29', '-30:00:00.000005', '2024-02-29 01:02:03.456789', '{"a": 1}'],
    [2, null, null, null, null, null, null, null, null, null, null],
    [3, PHP_INT_MIN, '18446744073709551615', -1e300, '-99999999999999.999999', '🐬 \' " \\ ü%', "'\"\\", '1000-01-01', '0', '9999-12-31 23:59:59', '[]'],
    [4, 0, 0, 0.1, 0.1, '', '', '9999-12-31', '23:00:01', '1970-01-01', '"x"'],
];

function parameters(mysqli $conn, string $mode): void
{
    text_run($conn, 'given', 'DELETE FROM given', $mode);
    foreach ([...GIVEN, GIVEN[0]] as $row) {
        run($conn, $mode, 'given', 'INSERT INTO given VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', $row);
    }
    foreach ([0, 2, 9, 1] as $at) {
        run($conn, $mode, 'given', 'SELECT * FROM given WHERE id > ? ORDER BY id', [$at]);
    }
    if ($mode === 'text') {
        return;
    }
    $statement = $conn->prepare('SELECT id, t, ? AS given FROM given WHERE id >= ? ORDER BY id');
    foreach ([['a', 1], [7, 3], [null, 4], ['🐬', 99]] as $values) {
        statement_run($conn, $statement, 'statement', $values);
    }
    $statement->reset();
    // Typed parameters that are bound once, one of them sent in pieces; results bound to variables.
    $insert = $conn->prepare('INSERT INTO given (id, i, d, t, b) VALUES (?, ?, ?, ?, ?)');
    $insert->bind_param('iidsb', $id, $i, $d, $t, $b);
    for ($id = 20; $id < 23; $id++) {
        [$i, $d, $t, $b] = [$id * 1000000000, $id / 3, str_repeat('t', $id), null];
        $insert->send_long_data(4, 'piece ');
        $insert->send_long_data(4, "and piece $id");
        $insert->execute();
        say('binary', 'bound', $insert->affected_rows);
    }
    $select = $conn->prepare('SELECT id, i, d, t, b FROM given WHERE id >= 20 ORDER BY id');
    $select->execute();
    $select->store_result();
    $select->bind_result($id, $i, $d, $t, $b);
    while ($select->fetch()) {
        say('binary', 'bound', $id, $i, $d, $t, $b);
    }
    $select->close();
}

function transactions(mysqli $conn, string $mode): void
{
    foreach (['rollback', 'commit'] as $end) {
        $conn->begin_transaction();
        run($conn, $mode, $end, 'INSERT INTO counters VALUES (?, ?)', [100 + strlen($end), 7]);
        $conn->savepoint('one');
        run($conn, $mode, $end, 'INSERT INTO counters VALUES (?, ?)', [200, 7]);
        text_run($conn, $end, 'ROLLBACK TO SAVEPOINT one', $mode);
        $conn->$end();
        run($conn, $mode, $end, 'SELECT * FROM counters WHERE id > 50');
    }
    $conn->autocommit(false);
    run($conn, $mode, 'clean', 'DELETE FROM counters WHERE id > 50');
    $conn->commit();
    $conn->begin_transaction(MYSQLI_TRANS_START_READ_ONLY | MYSQLI_TRANS_START_WITH_CONSISTENT_SNAPSHOT);
    run($conn, $mode, 'read only', 'DELETE FROM counters');
    $conn->rollback();
    $conn->autocommit(true);
}

function calls(mysqli $conn, string $mode): void
{
    text_run($conn, 'call', "SET @c = 'in'", $mode);
    foreach ([4, 5] as $number) {
        run($conn, $mode, 'call', 'CALL two(?, @b, @c)', [$number]);
    }
    foreach (['SELECT @b, @c', 'CALL quiet()', "CALL refuses('no ü')", "SELECT 'in step'"] as $sql) {
        run($conn, $mode, 'call', $sql);
    }
    if ($mode === 'text') {
        text_run($conn, 'multi', 'SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c; INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60');
        text_run($conn, 'multi', 'SELECT 1; SELECT * FROM missing; SELECT 3');
        text_run($conn, 'multi', "SELECT 'in step'");
    }
}

function errors(mysqli $conn, string $mode): void
{
    $wrong = ['SELEKT', 'SELECT * FROM missing', 'INSERT INTO counters VALUES (1, 1)', 'INSERT INTO counters VALUES (NULL, 1)', 'SELECT (SELECT id FROM many)',
        'CALL nowhere()', "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünï'", 'KILL QUERY 4000000000', 'USE nowhere'];
    foreach ($wrong as $sql) {
        run($conn, $mode, 'error', $sql);
    }
    foreach ([['password' => 'wrong'], ['user' => 'nobody'], ['schema' => 'nowhere']] as $more) {
        try {
            connect($more);
            say($mode, 'login', 'let in');
        } catch (mysqli_sql_exception $error) {
            say($mode, 'login', error_shown($error));
        }
    }
}

function large(mysqli $conn, string $mode): void
{
    run($conn, $mode, 'large', 'INSERT INTO large (b) VALUES (?)', [str_repeat('abcdefghijklm', 1371205)]);
    if ($mode === 'binary') {
        $statement = $conn->prepare('INSERT INTO large (b) VALUES (?)');
        $null = null;
        $statement->bind_param('b', $null);
        for ($piece = 0; $piece < 18; $piece++) {
            $statement->send_long_data(0, str_repeat(chr(97 + $piece), 1 << 20));
        }
        $statement->execute();
        say($mode, 'large', $statement->affected_rows);
    }
    run($conn, $mode, 'large', 'SELECT id, b, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id');
    text_run($conn, 'large', 'TRUNCATE TABLE large', $mode);
}

function load(mysqli $conn): void
{
    $file = getenv('CLIENT_FILE');
    text_run($conn, 'load', "LOAD DATA LOCAL INFILE '$file' INTO TABLE loaded FIELDS TERMINATED BY ','");
    text_run($conn, 'load', 'SHOW WARNINGS; SELECT * FROM loaded ORDER BY id');
    text_run($conn, 'load', "LOAD DATA LOCAL INFILE '/nowhere/at/all' INTO TABLE loaded");
    text_run($conn, 'load', 'TRUNCATE TABLE loaded');
}

function sessions(string $mode): void
{
    $conn = connect(['flags' => MYSQLI_CLIENT_FOUND_ROWS]);
    run($conn, $mode, 'session', 'SET @x = 1');
    run($conn, $mode, 'session', 'UPDATE counters SET n = 0');
    say($mode, 'session', $conn->server_info, $conn->server_version, $conn->protocol_version, $conn->sqlstate, $conn->character_set_name());
    $conn->select_db('mysql');
    run($conn, $mode, 'session', 'SELECT @x, DATABASE()');
    $conn->change_user(getenv('CLIENT_USER'), getenv('CLIENT_PASSWORD'), getenv('CLIENT_SCHEMA'));
    run($conn, $mode, 'session', 'SELECT @x, DATABASE(), USER(), CURRENT_USER()');
    try {
        say($mode, 'session', $conn->change_user(getenv('CLIENT_USER'), 'wrong', ''));
    } catch (mysqli_sql_exception $error) {
        say($mode, 'session', error_shown($error));
    }
    $conn = connect();
    $conn->set_charset('latin1');
    run($conn, $mode, 'latin1', "SELECT 'ü', LENGTH('ü'), CHARSET('ü'), COLLATION('a')");
    $conn->close();
    // A persistent connection is reset by COM_CHANGE_USER before it is used again.
    foreach ([1, 2, 3] as $turn) {
        $conn = connect(['persistent' => 'p:']);
        run($conn, $mode, 'persistent', 'SELECT @x, DATABASE()');
        run($conn, $mode, 'persistent', 'SET @x = 5');
        $conn->close();
    }
}

function streams(mysqli $conn, string $mode): void
{
    $total = 0;
    $sql = 'SELECT id, t FROM many ORDER BY id';
    if ($mode === 'text') {
        $result = $conn->query($sql, MYSQLI_USE_RESULT);
        while ($row = $result->fetch_row()) {
            $total += (int) $row[0] + strlen($row[1]);
        }
        $conn->query($sql, MYSQLI_USE_RESULT)->free();
        $several = [connect(), connect()];
        foreach ($several as $number => $other) {
            $other->query("SELECT $number, SLEEP(0.1)", MYSQLI_ASYNC);
        }
        foreach ($several as $other) {
            say($mode, 'asynchronous', result_shown($other->reap_async_query()));
        }
    } else {
        $statement = $conn->prepare($sql);
        $statement->execute();
        $statement->bind_result($id, $t);
        while ($statement->fetch()) {
            $total += $id + strlen($t);
        }
        $statement->close();
        $cursor = $conn->prepare('SELECT id, t FROM many WHERE id > ? ORDER BY id LIMIT 50');
        $cursor->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
        foreach ([10, 7990] as $from) {
            $cursor->execute([$from]);
            $cursor->bind_result($id, $t);
            for ($count = 0; $cursor->fetch(); $count++) {
                $total += $id;
            }
            say($mode, 'cursor', $count, $total);
            $cursor->free_result();
        }
        $cursor->close();
    }
    say($mode, 'stream', $total);
    run($conn, $mode, 'stream', "SELECT 'in step'");
}

echo 'version ', PHP_VERSION, "\n";
foreach (['text', 'binary'] as $mode) {
    $conn = connect();
    text_run($conn, 'clean', 'DROP DATABASE ' . getenv('CLIENT_SCHEMA') . '; CREATE DATABASE ' . getenv('CLIENT_SCHEMA'), $mode);
    $conn->close();
    $conn = connect();
    foreach (['script', 'parameters', 'transactions', 'calls', 'errors', 'large', 'streams'] as $part) {
        $part($conn, $mode);
    }
    if ($mode === 'text') {
        load($conn);
    }
    $conn->close();
    sessions($mode);
}
