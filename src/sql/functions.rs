//! Which functions a result may depend on: an allow-list by name. What is not on it is a stored or loadable function to us.
//!
//! "Pure" means: the same arguments under the same session variables (those in [`super::env`]) give the same value, and
//! nothing happens. Names are those that 9.7 resolves without a schema. MD5, SHA and SHA1 are missing on purpose: 9.7 has them
//! in a component only, so that the name may belong to anybody.

use std::sync::LazyLock;

use super::keywords::{FUNCTION, KEYWORDS};
use super::lexer::LexMode;

/// What calling a function means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Depends on its arguments and on session variables only.
    Pure,
    /// COUNT, SUM and the like.
    Aggregate,
    /// Depends on the moment.
    Clock,
    /// Depends on who asks, on the session's past or on the server's tables.
    Session,
    /// As `Session`, and on the statement just before.
    Diagnostics,
    /// Differs from call to call, or waits.
    NonDeterministic,
    /// Takes or frees a lock of the session.
    Lock,
    /// Not on the list.
    Unknown,
}

const AGGREGATES: &str = "AVG BIT_AND BIT_OR BIT_XOR COUNT GROUP_CONCAT JSON_ARRAYAGG JSON_OBJECTAGG MAX MIN STD STDDEV \
    STDDEV_POP STDDEV_SAMP ST_COLLECT SUM VARIANCE VAR_POP VAR_SAMP ANY_VALUE";

const PURE: &str = "ABS ACOS ADDDATE ASCII ASIN ATAN ATAN2 BIN BIN_TO_UUID BIT_COUNT BIT_LENGTH CAST CEIL CEILING \
    CHAR CHARACTER_LENGTH CHARSET CHAR_LENGTH COALESCE COERCIBILITY COLLATION COMPRESS CONCAT CONCAT_WS CONV CONVERT COS COT \
    CRC32 CUME_DIST DATE DATEDIFF DATE_ADD DATE_FORMAT DATE_SUB DAY DAYNAME DAYOFMONTH DAYOFWEEK DAYOFYEAR DEGREES \
    DENSE_RANK ELT EXISTS EXP EXPORT_SET EXTRACT EXTRACTVALUE FIELD FIND_IN_SET FIRST_VALUE FLOOR FORMAT \
    FORMAT_BYTES FORMAT_PICO_TIME FROM_BASE64 FROM_DAYS FROM_UNIXTIME GEOMCOLLECTION GEOMETRYCOLLECTION GET_FORMAT GREATEST \
    GROUPING HEX HOUR IF IFNULL INET6_ATON INET6_NTOA INET_ATON INET_NTOA INSERT INSTR INTERVAL ISNULL IS_IPV4 \
    IS_IPV4_COMPAT IS_IPV4_MAPPED IS_IPV6 IS_UUID JSON_ARRAY JSON_ARRAY_APPEND JSON_ARRAY_INSERT JSON_CONTAINS \
    JSON_CONTAINS_PATH JSON_DEPTH JSON_EXTRACT JSON_INSERT JSON_KEYS JSON_LENGTH JSON_MERGE JSON_MERGE_PATCH \
    JSON_MERGE_PRESERVE JSON_OBJECT JSON_OVERLAPS JSON_PRETTY JSON_QUOTE JSON_REMOVE JSON_REPLACE JSON_SCHEMA_VALID \
    JSON_SCHEMA_VALIDATION_REPORT JSON_SEARCH JSON_SET JSON_STORAGE_FREE JSON_STORAGE_SIZE JSON_TYPE JSON_UNQUOTE JSON_VALID \
    JSON_VALUE LAG LAST_DAY LAST_VALUE LCASE LEAD LEAST LEFT LENGTH LINESTRING LN LOCATE LOG LOG10 LOG2 LOWER LPAD LTRIM \
    MAKEDATE MAKE_SET MBRCONTAINS MBRCOVEREDBY MBRCOVERS MBRDISJOINT MBREQUALS MBRINTERSECTS MBROVERLAPS \
    MBRTOUCHES MBRWITHIN MICROSECOND MID MINUTE MOD MONTH MONTHNAME MULTILINESTRING MULTIPOINT MULTIPOLYGON NTH_VALUE \
    NTILE NULLIF OCT OCTET_LENGTH ORD PERCENT_RANK PERIOD_ADD PERIOD_DIFF PI POINT POLYGON POSITION POW POWER QUARTER QUOTE \
    RADIANS RANK REGEXP_INSTR REGEXP_LIKE REGEXP_REPLACE REGEXP_SUBSTR REPEAT REPLACE REVERSE RIGHT ROUND ROW_NUMBER RPAD \
    RTRIM SECOND SHA2 SIGN SIN SOUNDEX SPACE SQRT STRCMP ST_AREA ST_ASBINARY ST_ASGEOJSON \
    ST_ASTEXT ST_ASWKB ST_ASWKT ST_BUFFER ST_BUFFER_STRATEGY ST_CENTROID ST_CONTAINS ST_CONVEXHULL ST_CROSSES ST_DIFFERENCE \
    ST_DIMENSION ST_DISJOINT ST_DISTANCE ST_DISTANCE_SPHERE ST_ENDPOINT ST_ENVELOPE ST_EQUALS ST_EXTERIORRING \
    ST_FRECHETDISTANCE ST_GEOHASH ST_GEOMCOLLFROMTEXT ST_GEOMCOLLFROMWKB ST_GEOMETRYN ST_GEOMETRYTYPE ST_GEOMFROMGEOJSON \
    ST_GEOMFROMTEXT ST_GEOMFROMWKB ST_HAUSDORFFDISTANCE ST_INTERIORRINGN ST_INTERSECTION ST_INTERSECTS ST_ISCLOSED ST_ISEMPTY \
    ST_ISSIMPLE ST_ISVALID ST_LATFROMGEOHASH ST_LATITUDE ST_LENGTH ST_LINEFROMTEXT ST_LINEFROMWKB ST_LINEINTERPOLATEPOINT \
    ST_LINEINTERPOLATEPOINTS ST_LONGFROMGEOHASH ST_LONGITUDE ST_MAKEENVELOPE ST_NUMGEOMETRIES ST_NUMINTERIORRINGS \
    ST_NUMPOINTS ST_OVERLAPS ST_POINTATDISTANCE ST_POINTFROMGEOHASH ST_POINTFROMTEXT ST_POINTFROMWKB ST_POINTN \
    ST_POLYFROMTEXT ST_POLYFROMWKB ST_SIMPLIFY ST_SRID ST_STARTPOINT ST_SWAPXY ST_SYMDIFFERENCE ST_TOUCHES \
    ST_TRANSFORM ST_UNION ST_VALIDATE ST_WITHIN ST_X ST_Y SUBDATE SUBSTR SUBSTRING SUBSTRING_INDEX TAN \
    TIMESTAMP TIMESTAMPADD TIMESTAMPDIFF TIME_FORMAT TIME_TO_SEC TO_BASE64 TO_DAYS TO_SECONDS TRIM TRUNCATE UCASE \
    UNCOMPRESS UNCOMPRESSED_LENGTH UNHEX UNIX_TIMESTAMP UPDATEXML UPPER UUID_TO_BIN VALUES WEEK WEEKDAY WEEKOFYEAR WEIGHT_STRING YEAR \
    YEARWEEK";

/// Since 9.0.
const VECTOR: &str = "STRING_TO_VECTOR VECTOR_TO_STRING VECTOR_DIM TO_VECTOR FROM_VECTOR";

/// MariaDB 10.11 does not have these, so that there they are somebody's stored functions.
const NOT_MARIADB: &str = "ST_COLLECT ANY_VALUE BIN_TO_UUID FORMAT_BYTES FORMAT_PICO_TIME GEOMCOLLECTION GROUPING IS_UUID \
    JSON_SCHEMA_VALID JSON_SCHEMA_VALIDATION_REPORT JSON_STORAGE_FREE JSON_STORAGE_SIZE MBRCOVEREDBY MBRCOVERS POINT \
    REGEXP_LIKE ST_BUFFER_STRATEGY ST_FRECHETDISTANCE ST_GEOHASH ST_HAUSDORFFDISTANCE ST_ISVALID ST_LATFROMGEOHASH \
    ST_LATITUDE ST_LINEINTERPOLATEPOINT ST_LINEINTERPOLATEPOINTS ST_LONGFROMGEOHASH ST_LONGITUDE ST_MAKEENVELOPE \
    ST_POINTATDISTANCE ST_POINTFROMGEOHASH ST_SIMPLIFY ST_SWAPXY ST_TRANSFORM ST_VALIDATE UUID_TO_BIN CAN_ACCESS_DATABASE \
    ICU_VERSION PS_CURRENT_THREAD_ID PS_THREAD_ID ROLES_GRAPHML STATEMENT_DIGEST STATEMENT_DIGEST_TEXT \
    VALIDATE_PASSWORD_STRENGTH GTID_SUBSET GTID_SUBTRACT SOURCE_POS_WAIT WAIT_FOR_EXECUTED_GTID_SET";

/// The second half may give a TIME, which becomes a DATETIME by today's date wherever one is wanted.
const CLOCK: &str = "CURDATE CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURTIME LOCALTIME LOCALTIMESTAMP NOW SYSDATE UTC_DATE \
    UTC_TIME UTC_TIMESTAMP \
    ADDTIME MAKETIME SEC_TO_TIME STR_TO_DATE SUBTIME TIME TIMEDIFF";

const SESSION: &str = "AES_DECRYPT AES_ENCRYPT CAN_ACCESS_DATABASE CONNECTION_ID CONVERT_TZ CURRENT_ROLE CURRENT_USER DATABASE \
    DEFAULT ICU_VERSION PS_CURRENT_THREAD_ID PS_THREAD_ID ROLES_GRAPHML SCHEMA SESSION_USER STATEMENT_DIGEST \
    STATEMENT_DIGEST_TEXT SYSTEM_USER USER VALIDATE_PASSWORD_STRENGTH VERSION GTID_SUBSET GTID_SUBTRACT";

const DIAGNOSTICS: &str = "FOUND_ROWS LAST_INSERT_ID ROW_COUNT";

/// MATCH: InnoDB's relevance depends on its estimate of the number of rows, which uncommitted changes and ANALYZE move.
const NON_DETERMINISTIC: &str = "BENCHMARK IS_FREE_LOCK IS_USED_LOCK LOAD_FILE MASTER_POS_WAIT MATCH RAND RANDOM_BYTES SLEEP \
    SOURCE_POS_WAIT UUID UUID_SHORT WAIT_FOR_EXECUTED_GTID_SET NAME_CONST";

const LOCK: &str = "GET_LOCK RELEASE_ALL_LOCKS RELEASE_LOCK";

/// Words that may stand before `(` without calling anything.
const GRAMMAR: &str = "ALL AND ANY SOME AS BETWEEN BY CASE COLUMN DISTINCT DISTINCTROW DIV DUPLICATE ELSE EXCEPT FIELDS FOR FROM GROUP \
    HAVING IN INDEX INTERSECT INTO IS JOIN KEY LATERAL LIKE LIMIT MEMBER NOT OF OFFSET ON OR ORDER OVER PARTITION REGEXP RLIKE \
    RETURNING ROW SELECT SET SOUNDS STRAIGHT_JOIN THEN TO UNION UPDATE USE USING VALUE WHEN WHERE WITH XOR JSON_TABLE BINARY ESCAPE \
    IGNORE FORCE AGAINST TABLE EXISTS KEYS OUTER NATURAL CROSS INNER LINES DO EXPLAIN DESC COLUMNS";

/// Types, where `AS`, RETURNING, or a column definition of JSON_TABLE precedes them.
const TYPES: &str = "BIGINT BINARY BIT BLOB CHAR CHARACTER DATETIME DEC DECIMAL DOUBLE FIXED FLOAT INT INTEGER JSON NCHAR NUMERIC \
    REAL SIGNED SMALLINT TEXT TIME TIMESTAMP TINYINT UNSIGNED VARBINARY VARCHAR VECTOR YEAR ENUM NATIONAL VARYING TINYTEXT \
    MEDIUMTEXT LONGTEXT TINYBLOB MEDIUMBLOB LONGBLOB MEDIUMINT FLOAT4 FLOAT8 INT1 INT2 INT3 INT4 INT8 MIDDLEINT VARCHARACTER";

static BY_NAME: LazyLock<std::collections::HashMap<&'static str, Function, ahash::RandomState>> =
    LazyLock::new(|| {
        let mut map = std::collections::HashMap::default();
        for (names, class) in classes() {
            for name in names.split_ascii_whitespace() {
                map.insert(name, class);
            }
        }
        map
    });

fn classes() -> [(&'static str, Function); 8] {
    [
        (VECTOR, Function::Pure),
        (PURE, Function::Pure),
        (AGGREGATES, Function::Aggregate),
        (CLOCK, Function::Clock),
        (SESSION, Function::Session),
        (DIAGNOSTICS, Function::Diagnostics),
        (NON_DETERMINISTIC, Function::NonDeterministic),
        (LOCK, Function::Lock),
    ]
}

/// The class of a function called by this name, without a schema before it, on the server that `mode` describes.
pub fn class(name: &str, mode: LexMode) -> Function {
    let upper = name.to_ascii_uppercase();
    let listed = |names: &str| names.split_ascii_whitespace().any(|known| known == upper);
    if mode.mariadb && listed(NOT_MARIADB) {
        return Function::Unknown;
    }
    if (mode.mariadb || mode.server_version < 90_000) && listed(VECTOR) {
        return Function::Unknown;
    }
    BY_NAME
        .get(upper.as_str())
        .copied()
        .unwrap_or(Function::Unknown)
}

/// As [`class`], for a name the lexer took for an identifier: `now (1)` with a space is not NOW() but a stored function `now`.
pub fn class_of_identifier(name: &str, mode: LexMode) -> Function {
    let keyword = KEYWORDS
        .find(name.as_bytes())
        .and_then(|number| KEYWORDS.get(number));
    if keyword.is_some_and(|keyword| keyword.flags & FUNCTION != 0) {
        return Function::Unknown;
    }
    class(name, mode)
}

/// Every name on the list with its class, for the test that asks a server whether it knows them.
pub fn all() -> impl Iterator<Item = (&'static str, Function)> {
    classes().into_iter().flat_map(|(names, class)| {
        names
            .split_ascii_whitespace()
            .map(move |name| (name, class))
    })
}

/// Whether the keyword (as written, any case) may stand before `(` as grammar.
pub(crate) fn is_grammar(word: &str) -> bool {
    GRAMMAR
        .split_ascii_whitespace()
        .any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether the keyword names a type.
pub(crate) fn is_type(word: &str) -> bool {
    TYPES
        .split_ascii_whitespace()
        .any(|known| known.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_has_two_classes() {
        let mut names: Vec<&str> = all().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_space_makes_another_function() {
        let mode = LexMode::default();
        assert_eq!(class("now", mode), Function::Clock);
        assert_eq!(class_of_identifier("now", mode), Function::Unknown);
        assert_eq!(class_of_identifier("concat", mode), Function::Pure);
        assert_eq!(class("my_function", mode), Function::Unknown);
    }

    #[test]
    fn what_a_server_does_not_have_is_somebodys() {
        let mariadb = LexMode {
            mariadb: true,
            ..LexMode::default()
        };
        let old = LexMode {
            server_version: 80_035,
            ..LexMode::default()
        };
        assert_eq!(class("uuid_to_bin", LexMode::default()), Function::Pure);
        assert_eq!(class("uuid_to_bin", mariadb), Function::Unknown);
        assert_eq!(class("vector_dim", old), Function::Unknown);
        assert_eq!(class("md5", old), Function::Unknown);
    }
}
