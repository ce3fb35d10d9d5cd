//! Why a statement went where it went: one enum, one stable label each, for the admin schema, metrics and `EXPLAIN ROUTE`.
//! Never decides anything.

/// The reason of a routing decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Answered from the result cache.
    CacheHit,
    /// Answered from an aggregate view.
    View,
    /// Answered by the proxy itself.
    Local,
    /// Answered by the admin schema.
    Admin,
    /// Not a plain read, so only the backend can run it.
    NotARead,
    /// A read that nothing better than the backend was looked for: neither cacheable by rule nor an aggregate.
    PlainRead,
    /// A transaction is open (or autocommit is off): the answer must come from the transaction's own connection.
    InTransaction,
    /// The text was too long to be read whole; it is streamed to the backend.
    Oversize,
    /// Sent as several statements in one text.
    MultiStatement,
    /// The session has state that could change the answer (temporary table, LOCK TABLES, opaque statement).
    SessionState(&'static str),
    /// A session variable that could change the answer has an unusual value.
    Environment(&'static str),
    /// The statement could not be understood fully.
    Opaque(&'static str),
    /// A read that could be cached, but is not in the cache; it is being filled or was refused by the named rule.
    CacheMiss,
    /// The cache does not take this statement.
    NotCacheable(&'static str),
    /// No view answers it.
    ViewRefused(&'static str),
    /// A cached answer or a view was there but could not be proven fresh in time.
    NotFresh(&'static str),
    /// A view's answer failed before its first byte was sent; the statement ran as the client wrote it.
    ViewFailed(&'static str),
    /// The statement runs as a prepared statement in a form that is only relayed.
    PreparedRelayed,
    /// Neither cache nor views can be exact on this backend now; the label says which condition is missing.
    NoFreshness(&'static str),
    /// The named rule answers it with an error.
    RuleBlocks(&'static str),
    /// The named rule's rewrite of it cannot be sent.
    RuleRewrite(&'static str),
    /// A limit of the named rule holds it back.
    RuleLimit(&'static str),
    /// The named rule's breaker is open for its digest.
    RuleBreaker(&'static str),
    /// The named rule keeps it off the cache.
    RuleNoCache(&'static str),
}

impl Reason {
    /// The stable label: the group, and the detail where there is one, as they stand in metrics and admin tables.
    pub fn parts(self) -> (&'static str, Option<&'static str>) {
        match self {
            Reason::CacheHit => ("cache_hit", None),
            Reason::View => ("view", None),
            Reason::Local => ("local", None),
            Reason::Admin => ("admin", None),
            Reason::NotARead => ("not_a_read", None),
            Reason::PlainRead => ("plain_read", None),
            Reason::InTransaction => ("in_transaction", None),
            Reason::Oversize => ("oversize", None),
            Reason::MultiStatement => ("multi_statement", None),
            Reason::SessionState(d) => ("session_state", Some(d)),
            Reason::Environment(d) => ("environment", Some(d)),
            Reason::Opaque(d) => ("opaque", Some(d)),
            Reason::CacheMiss => ("cache_miss", None),
            Reason::NotCacheable(d) => ("not_cacheable", Some(d)),
            Reason::ViewRefused(d) => ("view_refused", Some(d)),
            Reason::NotFresh(d) => ("not_fresh", Some(d)),
            Reason::ViewFailed(d) => ("view_failed", Some(d)),
            Reason::PreparedRelayed => ("prepared_relayed", None),
            Reason::NoFreshness(d) => ("no_freshness", Some(d)),
            Reason::RuleBlocks(d) => ("rule_blocks", Some(d)),
            Reason::RuleRewrite(d) => ("rule_rewrite", Some(d)),
            Reason::RuleLimit(d) => ("rule_limit", Some(d)),
            Reason::RuleBreaker(d) => ("rule_breaker", Some(d)),
            Reason::RuleNoCache(d) => ("rule_no_cache", Some(d)),
        }
    }

    /// The group label alone.
    pub fn label(self) -> &'static str {
        self.parts().0
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.parts() {
            (group, None) => f.write_str(group),
            (group, Some(detail)) => write!(f, "{group}:{detail}"),
        }
    }
}
