<?php
// One client program for PHP's PDO with mysqlnd. Prints what it sees, one line an observation, each beginning with `text` (emulated
// statements) or `binary` (the server's); nothing that differs from run to run. Environment: see tests/clients/run.
declare(strict_types=1);

function connect(string $mode, array $options = [], array $more = []): PDO
{
    $tls = getenv('CLIENT_TLS') === 'yes' ? [PDO::MYSQL_ATTR_SSL_CIPHER => 'DEFAULT', PDO::MYSQL_ATTR_SSL_VERIFY_SERVER_CERT => false] : [];
    $schema = $more['schema'] ?? getenv('CLIENT_SCHEMA');
    $place = 'mysql:host=' . getenv('CLIENT_HOST') . ';port=' . getenv('CLIENT_PORT') . ";dbname=$schema;charset=" . ($more['charset'] ?? 'utf8mb4');
    $all = $options + $tls + [PDO::ATTR_EMULATE_PREPARES => $mode === 'text', PDO::MYSQL_ATTR_LOCAL_INFILE => true, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION];
    return new PDO($place, $more['user'] ?? getenv('CLIENT_USER'), $more['password'] ?? getenv('CLIENT_PASSWORD'), $all);
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

function error_shown(PDOException $error): string
{
    return 'error ' . shown($error->errorInfo) . ' ' . $error->getMessage();
}

function columns_shown(PDOStatement $statement): string
{
    $columns = [];
    for ($at = 0; $at < $statement->columnCount(); $at++) {
        $meta = $statement->getColumnMeta($at);
        $columns[] = $meta['name'] . ':' . ($meta['native_type'] ?? '?') . ':' . implode('+', $meta['flags']) . ':' . $meta['len'] . ':' . $meta['precision'] . ':' . $meta['table'];
    }
    return implode(',', $columns);
}

function answers(PDO $conn, string $mode, string $section, PDOStatement $statement): void
{
    do {
        $columns = columns_shown($statement);
        $rows = $columns === '' ? [] : $statement->fetchAll(PDO::FETCH_NUM);
        say($mode, $section, $columns, implode(' ', array_map(shown(...), $rows)), $statement->rowCount(), $conn->lastInsertId());
    } while ($statement->nextRowset());
    $statement->closeCursor();
}

function run(PDO $conn, string $mode, string $section, string $sql, array $values = []): void
{
    try {
        $statement = $conn->prepare($sql);
        foreach ($values as $at => $value) {
            $type = match (true) { $value === null => PDO::PARAM_NULL, is_int($value) => PDO::PARAM_INT, is_bool($value) => PDO::PARAM_BOOL, default => PDO::PARAM_STR };
            $statement->bindValue($at + 1, is_float($value) ? (string) $value : $value, $type);
        }
        $statement->execute();
        answers($conn, $mode, $section, $statement);
    } catch (PDOException $error) {
        say($mode, $section, error_shown($error));
    }
}

function script(PDO $conn, string $mode): void
{
    $blocks = array_values(array_filter(explode("\n\n", file_get_contents(getenv('CLIENT_SCRIPT'))), fn ($block) => !str_starts_with($block, '--')));
    foreach ($blocks as $number => $sql) {
        run($conn, $mode, "script $number " . substr($sql, 0, 30), trim($sql));
    }
}

function parameters(PDO $conn, string $mode): void
{
    $given = [
        [1, -5, 5, 1.25, '12.340000', 'plain', "\x01\x7f", '2024-02-29', '-30:00:00.000005', '2024-02-29 01:02:03.456789', '{"a": 1}'],
        [2, null, null, null, null, null, null, null, null, null, null],
        [3, PHP_INT_MIN, '18446744073709551615', -1e300, '-99999999999999.999999', '🐬 \' " \\ ü%', "'\"\\", '1000-01-01', '0', '9999-12-31 23:59:59', '[]'],
        [4, 0, false, 0.1, 0.1, '', '', '9999-12-31', '23:00:01', '1970-01-01', '"x"'],
    ];
    run($conn, $mode, 'given', 'DELETE FROM given');
    foreach ([...$given, $given[0]] as $row) {
        run($conn, $mode, 'given', 'INSERT INTO given VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', $row);
    }
    $statement = $conn->prepare('SELECT * FROM given WHERE id > :at AND (t LIKE :t OR t IS NULL) ORDER BY id');
    foreach ([[0, '%'], [2, '%ü%'], [9, ''], [1, '🐬%']] as [$at, $like]) {
        $statement->execute(['at' => $at, 't' => $like]);
        answers($conn, $mode, 'named', $statement);
    }
}

function transactions(PDO $conn, string $mode): void
{
    foreach (['rollBack', 'commit'] as $end) {
        $conn->beginTransaction();
        run($conn, $mode, $end, 'INSERT INTO counters VALUES (?, ?)', [100 + strlen($end), 7]);
        say($mode, $end, $conn->inTransaction());
        $conn->$end();
        say($mode, $end, $conn->inTransaction());
        run($conn, $mode, $end, 'SELECT * FROM counters WHERE id > 50');
    }
    $conn->setAttribute(PDO::ATTR_AUTOCOMMIT, 0);
    run($conn, $mode, 'clean', 'DELETE FROM counters WHERE id > 50');
    $conn->setAttribute(PDO::ATTR_AUTOCOMMIT, 1);
    say($mode, 'exec', $conn->exec('DELETE FROM counters WHERE id > 50'));
}

function calls(PDO $conn, string $mode): void
{
    $conn->exec("SET @c = 'in'");
    foreach ([4, 5] as $number) {
        run($conn, $mode, 'call', 'CALL two(?, @b, @c)', [$number]);
    }
    foreach (['SELECT @b, @c', 'CALL quiet()', "CALL refuses('no ü')", "SELECT 'in step'"] as $sql) {
        run($conn, $mode, 'call', $sql);
    }
    if ($mode === 'text') {
        run($conn, $mode, 'multi', 'SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c; INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60');
        run($conn, $mode, 'multi', 'SELECT 1; SELECT * FROM missing; SELECT 3');
        run($conn, $mode, 'multi', "SELECT 'in step'");
    }
}

function errors(PDO $conn, string $mode): void
{
    $wrong = ['SELEKT', 'SELECT * FROM missing', 'INSERT INTO counters VALUES (1, 1)', 'INSERT INTO counters VALUES (NULL, 1)', 'SELECT (SELECT id FROM many)',
        'CALL nowhere()', "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünï'", 'KILL QUERY 4000000000', 'USE nowhere'];
    foreach ($wrong as $sql) {
        run($conn, $mode, 'error', $sql);
    }
    foreach ([['password' => 'wrong'], ['user' => 'nobody'], ['schema' => 'nowhere']] as $more) {
        try {
            connect($mode, [], $more);
            say($mode, 'login', 'let in');
        } catch (PDOException $error) {
            say($mode, 'login', error_shown($error));
        }
    }
}

function large(PDO $conn, string $mode): void
{
    $stream = fopen('php://temp', 'w+');
    fwrite($stream, str_repeat('abcdefghijklm', 1371205));
    rewind($stream);
    $statement = $conn->prepare('INSERT INTO large (b) VALUES (?)');
    $statement->bindParam(1, $stream, PDO::PARAM_LOB);
    $statement->execute();
    run($conn, $mode, 'large', 'SELECT id, b, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id');
    $conn->exec('TRUNCATE TABLE large');
}

function load(PDO $conn): void
{
    $file = getenv('CLIENT_FILE');
    run($conn, 'text', 'load', "LOAD DATA LOCAL INFILE '$file' INTO TABLE loaded FIELDS TERMINATED BY ','");
    run($conn, 'text', 'load', 'SHOW WARNINGS');
    run($conn, 'text', 'load', 'SELECT * FROM loaded ORDER BY id');
    run($conn, 'text', 'load', 'TRUNCATE TABLE loaded');
}

function sessions(string $mode): void
{
    $conn = connect($mode, [PDO::MYSQL_ATTR_FOUND_ROWS => true, PDO::MYSQL_ATTR_INIT_COMMAND => "SET @x = 'init', time_zone = '+03:00'"]);
    run($conn, $mode, 'session', 'UPDATE counters SET n = 0');
    run($conn, $mode, 'session', 'SELECT @x, @@time_zone, USER()');
    say($mode, 'session', $conn->getAttribute(PDO::ATTR_SERVER_VERSION), $conn->getAttribute(PDO::ATTR_DRIVER_NAME));
    $conn = connect($mode, [], ['charset' => 'latin1']);
    run($conn, $mode, 'latin1', "SELECT 'ü', LENGTH('ü'), CHARSET('ü'), COLLATION('a')");
    foreach ([1, 2, 3] as $turn) {
        $conn = connect($mode, [PDO::ATTR_PERSISTENT => true]);
        run($conn, $mode, 'persistent', 'SELECT @x, DATABASE()');
        run($conn, $mode, 'persistent', 'SET @x = 5');
        $conn = null;
    }
}

function streams(PDO $conn, string $mode): void
{
    $total = 0;
    $conn->setAttribute(PDO::MYSQL_ATTR_USE_BUFFERED_QUERY, false);
    $statement = $conn->prepare('SELECT id, t FROM many WHERE id > ? ORDER BY id');
    $statement->execute([5]);
    foreach ($statement as $row) {
        $total += (int) $row[0] + strlen($row['t']);
    }
    say($mode, 'stream', $total);
    $statement->execute([7000]);
    say($mode, 'stream', $statement->fetch(PDO::FETCH_NUM));
    $statement->closeCursor();
    $conn->setAttribute(PDO::MYSQL_ATTR_USE_BUFFERED_QUERY, true);
    run($conn, $mode, 'stream', "SELECT 'in step'");
}

echo 'version ', PHP_VERSION, "\n";
foreach (['text', 'binary'] as $mode) {
    $conn = connect($mode);
    $conn->exec('DROP DATABASE ' . getenv('CLIENT_SCHEMA'));
    $conn->exec('CREATE DATABASE ' . getenv('CLIENT_SCHEMA'));
    $conn = connect($mode);
    foreach (['script', 'parameters', 'transactions', 'calls', 'errors', 'large', 'streams'] as $part) {
        $part($conn, $mode);
    }
    if ($mode === 'text') {
        load($conn);
    }
    $conn = null;
    sessions($mode);
}
