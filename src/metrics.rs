//! Every Prometheus series in one table: name, kind, labels, help. Never measures anything itself.
