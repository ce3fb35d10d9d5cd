// One client program for Node's drivers: node.js mysql2|mariadb. Prints what it sees, one line an observation, each beginning with
// `text` or `binary`; nothing that differs from run to run. Where and how to connect is in the environment: see tests/clients/run.
'use strict';
const fs = require('fs');
const crypto = require('crypto');
const path = require('path');

const driver = process.argv[2];
const env = process.env;
const folder = path.join(env.CLIENT_HOME, 'node', 'node_modules');
const module_ = require('module').createRequire(path.join(folder, 'any.js'))(driver === 'mysql2' ? 'mysql2/promise' : 'mariadb');
const version = JSON.parse(fs.readFileSync(path.join(folder, driver, 'package.json'))).version;
const isMysql2 = driver === 'mysql2';

function options(more = {}) {
  const base = {
    host: env.CLIENT_HOST, port: Number(env.CLIENT_PORT), user: env.CLIENT_USER, password: env.CLIENT_PASSWORD, database: env.CLIENT_SCHEMA,
    multipleStatements: true, timezone: isMysql2 ? 'Z' : '+00:00', ssl: env.CLIENT_TLS === 'yes' ? { rejectUnauthorized: false } : undefined,
  };
  if (isMysql2) Object.assign(base, { supportBigNumbers: true, bigNumberStrings: true, charset: 'utf8mb4' });
  else Object.assign(base, { permitLocalInfile: true, allowPublicKeyRetrieval: true, insertIdAsNumber: false, ssl: base.ssl || false });
  return Object.assign(base, more);
}

function shown(value) {
  if (value === null || value === undefined) return 'NULL';
  if (Buffer.isBuffer(value)) {
    return value.length > 40 ? `Buffer ${value.length} ${crypto.createHash('sha256').update(value).digest('hex')}` : `Buffer ${value.toString('hex')}`;
  }
  if (value instanceof Date) return isNaN(value) ? 'Date invalid' : `Date ${value.toISOString()}`;
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'string') {
    return value.length > 200 ? `string ${value.length} ${crypto.createHash('sha256').update(value).digest('hex')}` : JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(shown).join(', ')}]`;
  if (typeof value === 'object') return `{${Object.keys(value).map((key) => `${key}: ${shown(value[key])}`).join(', ')}}`;
  return String(value);
}

function say(mode, section, ...words) {
  console.log(`${mode} ${section.replace(/\n/g, ' ')}: ${words.join(' ').replace(/\n/g, '\\n')}`);
}

function errorShown(error) {
  return `error ${error.code} ${error.errno} ${error.sqlState} ${(error.message || '').replace(/conn[=:] ?\d+/, 'conn')}`;
}

// Rows, counts, or a list of both, without the drivers' own decoration.
function resultShown(result) {
  if (Array.isArray(result)) return shown(result.map((row) => (row && row.constructor && /Header|OkPacket/.test(row.constructor.name) ? { ...row } : row)));
  return shown({ ...result });
}

async function send(conn, mode, sql, parameters) {
  const answer = mode === 'binary' ? await conn.execute(sql, parameters) : await conn.query(sql, parameters);
  if (!isMysql2) return [resultShown(answer), answer && answer.meta];
  return [resultShown(answer[0]), answer[1]];
}

function columnsShown(fields) {
  if (!Array.isArray(fields)) return '';
  return fields.map((field) => {
    if (Array.isArray(field)) return `(${columnsShown(field)})`;
    if (!field) return '-';
    const name = typeof field.name === 'function' ? field.name() : field.name;
    return `${name}:${field.columnType}:${field.flags}:${field.columnLength}`;
  }).join(',');
}

async function run(conn, mode, section, sql, parameters) {
  try {
    const [text, fields] = await send(conn, mode, sql, parameters);
    say(mode, section, columnsShown(fields), text);
  } catch (error) {
    say(mode, section, errorShown(error));
    // What the server does not prepare goes as text, so that the rest of the script finds what it needs.
    if (mode === 'binary' && error.errno === 1295) await run(conn, 'text', section, sql, parameters);
  }
}

async function script(conn, mode) {
  const blocks = fs.readFileSync(env.CLIENT_SCRIPT, 'utf8').split('\n\n').filter((block) => !block.startsWith('--'));
  for (const [number, sql] of blocks.entries()) await run(conn, mode, `script ${number} ${sql.slice(0, 30)}`, sql.trim());
}

const given = [
  [1, -5, 5, 1.25, '12.340000', 'plain', Buffer.from([0, 255]), '2024-02-29', '-30:00:00.000005', new Date(Date.UTC(2024, 1, 29, 1, 2, 3, 456)), '{"a": 1}'],
  [2, null, null, null, null, null, null, null, null, null, null],
  [3, -(2n ** 63n), 2n ** 64n - 1n, -1e300, '-99999999999999.999999', '🐬 \' " \\ ü%', Buffer.from('\'"\\'), '1000-01-01', '00:00:00', '9999-12-31 23:59:59', '[]'],
  [4, 0, 0, 0.1, 0.1, '', Buffer.alloc(0), new Date(Date.UTC(9999, 11, 31)), '23:00:01', new Date(0), JSON.stringify('x')],
];

async function parameters(conn, mode) {
  await conn.query('DELETE FROM given');
  for (const row of [...given, given[0]]) await run(conn, mode, 'given', 'INSERT INTO given VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', row);
  for (const at of [0, 2, 9, 1]) await run(conn, mode, 'given', 'SELECT * FROM given WHERE id > ? ORDER BY id', [at]);
  if (mode === 'binary') {
    const statement = await conn.prepare('SELECT id, t, ? AS given FROM given WHERE id >= ? ORDER BY id');
    for (const values of [['a', 1], [7, 3], [null, 4], ['🐬', 99]]) {
      const answer = await statement.execute(values);
      say(mode, 'statement', resultShown(isMysql2 ? answer[0] : answer));
    }
    await statement.close();
    if (!isMysql2) say(mode, 'batch', resultShown(await conn.batch('INSERT INTO given (id, t) VALUES (?, ?)', [[20, 'a'], [21, 'b'], [22, null]])));
  } else {
    await run(conn, mode, 'bulk', isMysql2 ? 'INSERT INTO given (id, t) VALUES ?' : 'INSERT INTO given (id, t) VALUES (20, ?)', isMysql2 ? [[[30, 'a'], [31, null]]] : ['a']);
  }
  await run(conn, mode, 'given', 'DELETE FROM given WHERE id > ?', [4]);
}

async function transactions(conn, mode) {
  for (const end of ['rollback', 'commit']) {
    await conn.beginTransaction();
    await run(conn, mode, end, 'INSERT INTO counters VALUES (?, ?)', [100 + end.length, 7]);
    await conn[end]();
    await run(conn, mode, end, 'SELECT * FROM counters WHERE id > 50');
  }
  await run(conn, mode, 'clean', 'DELETE FROM counters WHERE id > 50');
}

async function calls(conn, mode) {
  await run(conn, mode, 'call', 'SET @c = "in"');
  for (const number of [4, 5]) await run(conn, mode, 'call', 'CALL two(?, @b, @c)', [number]);
  await run(conn, mode, 'call', 'SELECT @b, @c');
  if (mode === 'binary' && !isMysql2) await run(conn, mode, 'out', 'CALL two(?, ?, ?)', [6, null, 'in']);
  await run(conn, mode, 'call', 'CALL quiet()');
  await run(conn, mode, 'call', "CALL refuses('no ü')");
  if (mode === 'text') {
    await run(conn, mode, 'multi', 'SELECT 1 AS a; DO 1; SELECT 2 AS b, 3 AS c; INSERT INTO counters VALUES (60, 1), (61, 1); DELETE FROM counters WHERE id >= 60');
    await run(conn, mode, 'multi', 'SELECT 1; SELECT * FROM missing; SELECT 3');
  }
  await run(conn, mode, 'after', "SELECT 'in step'");
}

async function errors(conn, mode) {
  const wrong = ['SELEKT', 'SELECT * FROM missing', 'INSERT INTO counters VALUES (1, 1)', 'INSERT INTO counters VALUES (NULL, 1)',
    'SELECT (SELECT id FROM many)', 'CALL nowhere()', "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'ünï'", 'KILL QUERY 4000000000', 'USE nowhere'];
  for (const sql of wrong) await run(conn, mode, 'error', sql);
  for (const bad of [{ password: 'wrong' }, { user: 'nobody' }, { database: 'nowhere' }]) {
    try {
      await module_.createConnection(options(bad));
      say(mode, 'login', 'let in');
    } catch (error) {
      say(mode, 'login', errorShown(error));
    }
  }
}

async function large(conn, mode) {
  const value = Buffer.alloc(17 << 20, 'abcdefghijklm');
  await run(conn, mode, 'large', 'INSERT INTO large (b) VALUES (?)', [value]);
  await run(conn, mode, 'large', 'SELECT id, b, LENGTH(b), SHA2(b, 256) FROM large ORDER BY id');
  await run(conn, 'text', 'large', 'TRUNCATE TABLE large');
}

async function load(conn) {
  const sql = 'LOAD DATA LOCAL INFILE ? INTO TABLE loaded FIELDS TERMINATED BY \',\'';
  try {
    const factory = { sql, values: [env.CLIENT_FILE], infileStreamFactory: (name) => fs.createReadStream(name) };
    const answer = isMysql2 ? (await conn.query(factory))[0] : await conn.query(sql, [env.CLIENT_FILE]);
    say('text', 'load', resultShown(answer));
  } catch (error) {
    say('text', 'load', errorShown(error));
  }
  await run(conn, 'text', 'load', 'SHOW WARNINGS');
  await run(conn, 'text', 'load', 'SELECT * FROM loaded ORDER BY id');
  await run(conn, 'text', 'load', 'TRUNCATE TABLE loaded');
}

async function sessions(mode) {
  let conn = await module_.createConnection(options());
  await run(conn, mode, 'session', 'SET @x = 1');
  await conn.ping();
  await run(conn, mode, 'session', 'SELECT @x');
  if (conn.reset) await conn.reset();
  await run(conn, mode, 'session', 'SELECT @x, DATABASE()');
  for (const more of [{ database: 'mysql' }, { database: env.CLIENT_SCHEMA }]) {
    try {
      await conn.changeUser({ user: env.CLIENT_USER, password: env.CLIENT_PASSWORD, ...more });
      await run(conn, mode, 'session', 'SELECT @x, DATABASE(), USER(), CURRENT_USER()');
    } catch (error) {
      say(mode, 'session', errorShown(error));
    }
  }
  await conn.end();
  try {
    conn = await module_.createConnection(options());
    await conn.changeUser({ user: env.CLIENT_USER, password: 'wrong' });
  } catch (error) {
    say(mode, 'session', errorShown(error));
  }
  conn.destroy();
  conn = await module_.createConnection(options(isMysql2 ? { charset: 'latin1' } : { collation: 'LATIN1_SWEDISH_CI' }));
  await run(conn, mode, 'latin1', "SELECT 'ü', LENGTH('ü'), CHARSET('ü'), COLLATION('a')");
  await conn.end();
  conn = await module_.createConnection(options(isMysql2 ? { flags: ['-FOUND_ROWS'] } : { foundRows: false }));
  await run(conn, mode, 'found rows', 'UPDATE counters SET n = 0');
  await conn.end();
}

async function streams(conn, mode) {
  let total = 0;
  const sql = 'SELECT id, t FROM many ORDER BY id';
  const stream = isMysql2 ? conn.connection[mode === 'binary' ? 'execute' : 'query'](sql).stream() : conn.queryStream(sql);
  for await (const row of stream) total += row.id + row.t.length;
  say(mode, 'stream', total);
  await run(conn, mode, 'stream', "SELECT 'in step'");
  // Several statements are given away at once: their answers come in order.
  const answers = await Promise.all([1, 2, 3, 4].map((number) => send(conn, mode, 'SELECT ? AS n', [number])));
  say(mode, 'at once', answers.map(([text]) => text).join(' '));
}

async function pools(mode) {
  const pool = module_.createPool(options({ connectionLimit: 4 }));
  const failures = [];
  const work = async (number) => {
    for (let turn = 0; turn < 25; turn++) {
      const conn = await pool.getConnection();
      try {
        const id = 1 + ((number + turn) % 4);
        await conn.beginTransaction();
        await send(conn, mode, 'UPDATE counters SET n = n + 1 WHERE id = ?', [id]);
        await send(conn, mode, 'SELECT n > 0 FROM counters WHERE id = ?', [id]);
        if (turn % 5 === 3) await conn.rollback();
        else await conn.commit();
      } catch (error) {
        failures.push(errorShown(error));
      } finally {
        await conn.release();
      }
    }
  };
  await Promise.all([0, 1, 2, 3, 4, 5].map(work));
  await pool.end();
  const conn = await module_.createConnection(options());
  say(mode, 'pool', failures.join(' '));
  await run(conn, mode, 'pool', 'SELECT * FROM counters ORDER BY id');
  await run(conn, mode, 'pool', 'UPDATE counters SET n = 0');
  await conn.end();
}

async function main() {
  console.log(`version ${version}`);
  for (const mode of ['text', 'binary']) {
    let conn = await module_.createConnection(options());
    await run(conn, 'text', 'clean', `DROP DATABASE ${env.CLIENT_SCHEMA}`);
    await run(conn, 'text', 'clean', `CREATE DATABASE ${env.CLIENT_SCHEMA}`);
    await conn.end();
    conn = await module_.createConnection(options());
    for (const part of [script, parameters, transactions, calls, errors, large, streams]) await part(conn, mode);
    if (mode === 'text') await load(conn);
    await conn.end();
    await sessions(mode);
    await pools(mode);
  }
}

main().catch((error) => {
  console.log(error.stack);
  process.exit(1);
});
