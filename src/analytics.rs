//! What was observed: recorders per worker, merged at read. Never influences a query.
