//! Finds the view that holds everything a pattern asks for. Pure.
