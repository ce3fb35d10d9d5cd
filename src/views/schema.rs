//! Plain description of a base table as the server reports it. Never does IO.
