//! The `tidegate` program: arguments, logging, configuration, then `server::run`.

fn main() {}
