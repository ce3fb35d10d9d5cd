//! Writes the statement over a view that gives the pattern's exact result. Pure.
