//! The aggregate pattern of a statement, and the definition that generalises it. Pure.
