# One client program for Perl's drivers: dbi.pl mysql|MariaDB. Prints what it sees, one line an observation, each beginning with `text`
# or `binary`; nothing that differs from run to run. Where and how to connect is in the environment: see tests/clients/run.
use strict;
use warnings;
use utf8;
use DBI;
use Digest::SHA qw(sha256_hex);

binmode STDOUT, ':encoding(UTF-8)';
$| = 1;
my $driver = $ARGV[0];
my $p      = lc $driver;

sub connect_to {
    my ($mode, %more) = @_;
    my $schema = exists $more{schema} ? $more{schema} : $ENV{CLIENT_SCHEMA};
    my $place  = "DBI:$driver:database=$schema;host=$ENV{CLIENT_HOST};port=$ENV{CLIENT_PORT};${p}_local_infile=1;${p}_multi_statements="
        . ($mode eq 'text' ? 1 : 0) . ";${p}_server_prepare=" . ($mode eq 'binary' ? 1 : 0);
    # The option file says whether TLS is used: these builds of the drivers refuse to ask their library for it.
    $place .= ";${p}_read_default_file=$ENV{CLIENT_OPTIONS}";
    my %utf8 = $driver eq 'mysql' ? (mysql_enable_utf8mb4 => 1) : ();
    return DBI->connect($place, $more{user} // $ENV{CLIENT_USER}, $more{password} // $ENV{CLIENT_PASSWORD},
        { RaiseError => 1, PrintError => 0, AutoCommit => 1, %utf8 });
}

sub shown {
    my ($value) = @_;
    return 'undef' unless defined $value;
    if (length $value > 200) {
        my $bytes = $value;
        utf8::encode($bytes);
        return 'string ' . length($value) . ' ' . sha256_hex($bytes);
    }
    $value =~ s/([\x00-\x1f\x7f-\xff])/sprintf('\\x{%02x}', ord $1)/ge;
    return "'$value'";
}

sub say_it {
    my ($mode, $section, @words) = @_;
    $section =~ s/\n/ /g;
    my $text = join ' ', map { defined $_ ? $_ : 'undef' } @words;
    $text =~ s/\n/\\n/g;
    $text =~ s/ at \S+ line \d+\.//g;
    print "$mode $section: $text\n";
}

sub error_shown { return join ' ', 'error', $DBI::err // '?', $DBI::state // '?', $DBI::errstr // $@ }

# Everything that one executed statement brings.
sub answers {
    my ($mode, $section, $statement, $rows) = @_;
    while (1) {
        if ($statement->{NUM_OF_FIELDS}) {
            my @columns = map {
                join ':', $statement->{NAME}[$_], $statement->{TYPE}[$_] // '?', $statement->{"${p}_type_name"}[$_], $statement->{NULLABLE}[$_] ? 1 : 0,
                    $statement->{PRECISION}[$_] // '?', $statement->{"${p}_is_pri_key"}[$_] ? 'key' : ''
            } 0 .. $statement->{NUM_OF_FIELDS} - 1;
            my $all = $statement->fetchall_arrayref;
            say_it($mode, $section, join(',', @columns), map { '(' . join(', ', map { shown($_) } @$_) . ')' } @$all);
        }
        say_it($mode, $section, 'rows', $statement->rows, 'id', $statement->{"${p}_insertid"}, 'warnings', $statement->{"${p}_warning_count"});
        last unless $mode eq 'text' && $statement->more_results;
    }
}

sub run {
    my ($conn, $mode, $section, $sql, @values) = @_;
    eval {
        my $statement = $conn->prepare($sql);
        $statement->execute(@values);
        answers($mode, $section, $statement);
        $statement->finish;
        1;
    } or say_it($mode, $section, error_shown());
}

sub script {
    my ($conn, $mode) = @_;
    open my $file, '<:encoding(UTF-8)', $ENV{CLIENT_SCRIPT} or die $!;
    local $/;
    my $number = 0;
    for my $sql (grep { !/^--/ } split /\n\n/, <$file>) {
        $sql =~ s/\s+$//;
        run($conn, $mode, "script $number " . substr($sql, 0, 30), $sql);
        $number++;
    }
}

sub parameters {
    my ($conn, $mode) = @_;
    my @given = (
        [1, -5, 5, 1.25, '12.340000', 'plain', "\x01\x7f", '2024-02-29', '-30:00:00.000005', '2024-02-29 01:02:03.456789', '{"a": 1}'],
        [2, (undef) x 10],
        [3, '-9223372036854775808', '18446744073709551615', '-1e300', '-99999999999999.999999', "🐬 ' \" \\ ü%", "'\"\\", '1000-01-01', '0', '9999-12-31 23:59:59', '[]'],
        [4, 0, 0, 0.1, 0.1, '', '', '9999-12-31', '23:00:01', '1970-01-01', '"x"'],
    );
    run($conn, $mode, 'given', 'DELETE FROM given');
    my $insert = $conn->prepare('INSERT INTO given VALUES (' . join(', ', ('?') x 11) . ')');
    for my $row (@given, $given[0]) {
        eval { say_it($mode, 'given', $insert->execute(@$row)); 1 } or say_it($mode, 'given', error_shown());
    }
    my $select = $conn->prepare('SELECT * FROM given WHERE id > ? ORDER BY id');
    for my $at (0, 2, 9, 1) {
        $select->execute($at);
        answers($mode, 'given', $select);
    }
    my $typed = $conn->prepare('SELECT ? AS a, ? AS b, ? AS c');
    for my $type (DBI::SQL_INTEGER, DBI::SQL_VARCHAR, DBI::SQL_DOUBLE, DBI::SQL_BLOB) {
        $typed->bind_param(1, '17', $type);
        $typed->bind_param(2, undef, $type);
        $typed->bind_param(3, '5', $type);
        $typed->execute;
        answers($mode, 'typed', $typed);
    }
    my $many = $conn->prepare('INSERT INTO given (id, t) VALUES (?, ?)');
    my @status;
    eval { say_it($mode, 'array', $many->execute_array({ ArrayTupleStatus => \@status }, [20, 21, 20, 22], ['a', undef, 'dup', 'd'])); 1 }
        or say_it($mode, 'array', error_shown());
    say_it($mode, 'array', map { ref $_ ? "($$_[0] $$_[1])" : $_ } @status);
}

sub transactions {
    my ($conn, $mode) = @_;
    for my $end ('rollback', 'commit') {
        $conn->begin_work;
        run($conn, $mode, $end, 'INSERT INTO counters VALUES (?, ?)', 100 + length $end, 7);
        $conn->$end;
        run($conn, $mode, $end, 'SELECT * FROM counters WHERE id > 50');
    }
    $conn->{AutoCommit} = 0;
    run($conn, $mode, 'clean', 'DELETE FROM counters WHERE id > 50');
    $conn->commit;
    run($conn, $mode, 'clean', 'SELECT @@autocommit');
    $conn->{AutoCommit} = 1;
    say_it($mode, 'do', $conn->do('UPDATE counters SET n = 0'));
}

sub calls {
    my ($conn, $mode) = @_;
    for my $sql ("SET \@c = 'in'", 'CALL two(4, @b, @c)', 'SELECT @b, @c', 'CALL quiet()', "CALL refuses('no ü')", "SELECT 'in step'") {
        run($conn, $mode, 'call', $sql);
    }
    return if $mode eq 'binary';
    run($conn, $mode, 'multi', 'SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c; INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60');
    run($conn, $mode, 'multi', 'SELECT 1; SELECT * FROM missing; SELECT 3');
    run($conn, $mode, 'multi', "SELECT 'in step'");
}

sub errors {
    my ($conn, $mode) = @_;
    for my $sql ('SELEKT', 'SELECT * FROM missing', 'INSERT INTO counters VALUES (1, 1)', 'INSERT INTO counters VALUES (NULL, 1)',
        'SELECT (SELECT id FROM many)', 'CALL nowhere()', "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünï'", 'KILL QUERY 4000000000', 'USE nowhere') {
        run($conn, $mode, 'error', $sql);
    }
    for my $more ([password => 'wrong'], [user => 'nobody'], [schema => 'nowhere']) {
        say_it($mode, 'login', eval { connect_to($mode, @$more); 1 } ? 'let in' : error_shown());
    }
}

sub large {
    my ($conn, $mode) = @_;
    # A result in pieces needs the length beforehand.
    $conn->{LongReadLen} = 20 << 20;
    my $statement = $conn->prepare('INSERT INTO large (b) VALUES (?)');
    $statement->bind_param(1, 'abcdefghijklm' x 1371205, DBI::SQL_BLOB);
    say_it($mode, 'large', eval { $statement->execute } // error_shown());
    run($conn, $mode, 'large', 'SELECT id, b, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id');
    run($conn, $mode, 'large', 'TRUNCATE TABLE large');
}

sub load {
    my ($conn) = @_;
    for my $sql ("LOAD DATA LOCAL INFILE '$ENV{CLIENT_FILE}' INTO TABLE loaded FIELDS TERMINATED BY ','", 'SHOW WARNINGS', 'SELECT * FROM loaded ORDER BY id',
        "LOAD DATA LOCAL INFILE '/nowhere/at/all' INTO TABLE loaded", 'TRUNCATE TABLE loaded') {
        run($conn, 'text', 'load', $sql);
    }
}

sub sessions {
    my ($mode) = @_;
    my $conn = connect_to($mode);
    run($conn, $mode, 'session', 'SET @x = 1');
    say_it($mode, 'session', $conn->ping, $conn->{"${p}_serverinfo"}, $conn->{"${p}_serverversion"}, $conn->{"${p}_protoinfo"}, $conn->quote("it's"));
    run($conn, $mode, 'session', 'SELECT @x, DATABASE(), USER()');
    say_it($mode, 'session', map { join '.', map { $_ // '' } @$_[1 .. 3] } @{ $conn->table_info(undef, undef, 'n%')->fetchall_arrayref });
    say_it($mode, 'session', map { join '.', map { $_ // '' } @$_[2 .. 7] } @{ $conn->column_info(undef, undef, 'numbers', '%')->fetchall_arrayref });
    say_it($mode, 'session', $conn->primary_key(undef, undef, 'numbers'));
    $conn->disconnect;
    say_it($mode, 'session', $conn->ping ? 1 : 0);
}

sub streams {
    my ($conn, $mode) = @_;
    my $total     = 0;
    # Only this one can read rows from an open answer; the others lose their place, also without a proxy.
    my %open = $p eq 'mysql' && $mode eq 'text' ? (mysql_use_result => 1) : ();
    my $statement = $conn->prepare('SELECT id, t FROM many WHERE id > ? ORDER BY id', \%open);
    $statement->execute(5);
    $statement->bind_columns(\my ($id, $t));
    while ($statement->fetch) { $total += $id + length $t }
    say_it($mode, 'stream', $total);
    $statement->execute(7000);
    say_it($mode, 'stream', $statement->fetchrow_array);
    $statement->finish;
    run($conn, $mode, 'stream', "SELECT 'in step'");
    if ($mode eq 'text') {
        my $later = $conn->prepare('SELECT SLEEP(0.1), 5', { ($p eq 'mysql' ? 'async' : 'mariadb_async') => 1 });
        $later->execute;
        say_it($mode, 'asynchronous', $p eq 'mysql' ? $later->mysql_async_result : $later->mariadb_async_result);
        answers('binary' eq $mode ? $mode : 'text', 'asynchronous', $later);
    }
}

no strict 'refs';
print 'version ', "DBD::$driver"->VERSION // do { eval "require DBD::$driver"; "DBD::$driver"->VERSION }, "\n";
for my $mode ('text', 'binary') {
    my $conn = connect_to($mode);
    run($conn, $mode, 'clean', $_) for "DROP DATABASE $ENV{CLIENT_SCHEMA}", "CREATE DATABASE $ENV{CLIENT_SCHEMA}";
    $conn = connect_to($mode);
    $_->($conn, $mode) for \&script, \&parameters, \&transactions, \&calls, \&errors, \&large, \&streams;
    load($conn) if $mode eq 'text';
    $conn->disconnect;
    sessions($mode);
}
