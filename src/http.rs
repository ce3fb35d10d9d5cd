//! HTTP: metrics, health, JSON of the admin tables. Never changes anything.
