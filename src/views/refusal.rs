//! Why a statement is not answered from a view: one stable label per rule.
