//! The history file (SQLite): one writer thread, plain row structs. Knows no other room but config.
