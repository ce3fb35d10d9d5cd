//! Capability flags of the handshake, as plain bits. Owns only numbers; who offers what is decided by the callers.

/// Old password hash of 4.1; every client sets it.
pub const LONG_PASSWORD: u32 = 1;
/// `affected_rows` counts found rows, not changed rows.
pub const FOUND_ROWS: u32 = 1 << 1;
/// Longer column flags; every client sets it.
pub const LONG_FLAG: u32 = 1 << 2;
/// The handshake response carries a schema name.
pub const CONNECT_WITH_DB: u32 = 1 << 3;
/// Refuse `schema.table.column` (historic).
pub const NO_SCHEMA: u32 = 1 << 4;
/// zlib protocol compression.
pub const COMPRESS: u32 = 1 << 5;
/// ODBC behaviour (historic, no effect).
pub const ODBC: u32 = 1 << 6;
/// LOAD DATA LOCAL INFILE.
pub const LOCAL_FILES: u32 = 1 << 7;
/// The parser may ignore spaces before `(`.
pub const IGNORE_SPACE: u32 = 1 << 8;
/// The 4.1 protocol; without it we do not talk.
pub const PROTOCOL_41: u32 = 1 << 9;
/// `interactive_timeout` in place of `wait_timeout`.
pub const INTERACTIVE: u32 = 1 << 10;
/// Go on with TLS after the short request.
pub const SSL: u32 = 1 << 11;
/// Client ignores SIGPIPE (no effect on the wire).
pub const IGNORE_SIGPIPE: u32 = 1 << 12;
/// Status flags are sent in OK and EOF.
pub const TRANSACTIONS: u32 = 1 << 13;
/// Named RESERVED in the source; the old name of PROTOCOL_41.
pub const RESERVED: u32 = 1 << 14;
/// 4.1 authentication (named RESERVED2 in newer sources); the response has a length byte before the auth data.
pub const SECURE_CONNECTION: u32 = 1 << 15;
/// Several statements in one COM_QUERY.
pub const MULTI_STATEMENTS: u32 = 1 << 16;
/// Several result sets to one COM_QUERY.
pub const MULTI_RESULTS: u32 = 1 << 17;
/// Several result sets to one COM_STMT_EXECUTE, and OUT parameters.
pub const PS_MULTI_RESULTS: u32 = 1 << 18;
/// Named authentication plugins.
pub const PLUGIN_AUTH: u32 = 1 << 19;
/// Connection attributes.
pub const CONNECT_ATTRS: u32 = 1 << 20;
/// The auth data of the response has a length-encoded length.
pub const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
/// Expired passwords are told, not refused.
pub const CAN_HANDLE_EXPIRED_PASSWORDS: u32 = 1 << 22;
/// OK packets carry session state changes.
pub const SESSION_TRACK: u32 = 1 << 23;
/// No EOF packet after column definitions; an OK with header 0xFE ends the rows.
pub const DEPRECATE_EOF: u32 = 1 << 24;
/// Result sets may come without column definitions.
pub const OPTIONAL_RESULTSET_METADATA: u32 = 1 << 25;
/// zstd protocol compression.
pub const ZSTD_COMPRESSION: u32 = 1 << 26;
/// COM_QUERY and COM_STMT_EXECUTE carry named attributes.
pub const QUERY_ATTRIBUTES: u32 = 1 << 27;
/// Up to three authentication factors.
pub const MULTI_FACTOR_AUTHENTICATION: u32 = 1 << 28;
/// Reserved for an extension of the flags; on MariaDB it means progress reports.
pub const CAPABILITY_EXTENSION: u32 = 1 << 29;
/// Client-only: verify the server's certificate.
pub const SSL_VERIFY_SERVER_CERT: u32 = 1 << 30;
/// Client-only: keep options over reconnects.
pub const REMEMBER_OPTIONS: u32 = 1 << 31;

/// Compression is agreed on for each side by itself and is a matter of the stream: no room above it sees these.
pub const COMPRESSION: u32 = COMPRESS | ZSTD_COMPRESSION;

/// What does not go from one side to the other. Optional metadata, a second factor and the extension bit, which would each change
/// bytes that the relay and the cache reason about, are never offered at all; compression is added where it is allowed.
pub const NEVER_OFFERED: u32 = COMPRESSION
    | OPTIONAL_RESULTSET_METADATA
    | MULTI_FACTOR_AUTHENTICATION
    | CAPABILITY_EXTENSION
    | SSL_VERIFY_SERVER_CERT
    | REMEMBER_OPTIONS;

/// What our greeting offers at most, before TLS is added: everything the relay passes through unchanged.
/// Callers mask it with what the backend offered, so that a client never negotiates what the server cannot do.
pub const OFFERED_MAX: u32 = !NEVER_OFFERED & !SSL;

/// Without these a client cannot be served: it speaks a protocol of before 2004.
pub const REQUIRED: u32 = PROTOCOL_41 | SECURE_CONNECTION;

/// The flags that change a byte of a response to the same statement. Two sessions that agree in these, in identity and in session
/// variables read the same bytes; the result cache keys by them.
pub const RESPONSE_BYTES: u32 = FOUND_ROWS
    | DEPRECATE_EOF
    | SESSION_TRACK
    | MULTI_RESULTS
    | PS_MULTI_RESULTS
    | TRANSACTIONS
    | IGNORE_SPACE
    | MULTI_STATEMENTS;
