//! Aggregate views: recognise, choose, build, match, rewrite, retire. Any doubt goes to the base tables.
