//! Of which types the values of a prepared statement have been: what the server makes of its parameters depends on that, so two
//! statements are the same only if they agree in it. Pure.

use xxhash_rust::xxh3::xxh3_128;

/// Type code of a NULL: it leaves a parameter as it was.
const NULL: u16 = 6;
const LONGLONG: u16 = 8;
const VAR_STRING: u16 = 253;

/// Types of all executions together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeHistory {
    /// One for each parameter, of the kinds that the server does not tell apart.
    kinds: Vec<u16>,
    is_mixed: bool,
}

impl TypeHistory {
    /// An execution brought these type entries: two bytes each, or with a name in front, which is not looked into.
    /// `show`: in answers one can see what the server made of them, so that no other statement will do.
    pub fn add(&mut self, types: &[u8], show: bool) {
        self.is_mixed |= show;
        let kinds = types.chunks_exact(2).map(|code| match code {
            [low, high] => kind(u16::from_le_bytes([*low, *high])),
            _ => NULL,
        });
        if self.kinds.is_empty() {
            self.kinds = kinds.collect();
            return;
        }
        self.is_mixed |= types.len() != 2 * self.kinds.len();
        for (known, new) in self.kinds.iter_mut().zip(kinds) {
            if *known == NULL {
                *known = new;
            } else if new != NULL && new != *known {
                self.is_mixed = true;
            }
        }
    }

    /// A parameter has had values of several types: no other statement is in the same state.
    pub fn is_mixed(&self) -> bool {
        self.is_mixed
    }

    /// Stands for all of it.
    pub fn hash(&self) -> u128 {
        let bytes: Vec<u8> = self
            .kinds
            .iter()
            .flat_map(|kind| kind.to_le_bytes())
            .collect();
        xxh3_128(&bytes)
    }
}

/// Whole numbers of all widths are one kind, and so are texts.
fn kind(code: u16) -> u16 {
    let unsigned = code & 0x8000;
    match code & 0xFF {
        1 | 2 | 3 | 8 | 9 => LONGLONG | unsigned,
        0x0F | 0xFD | 0xFE => VAR_STRING,
        other => other | unsigned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[&[u8]]) -> TypeHistory {
        let mut history = TypeHistory::default();
        all.iter().for_each(|types| history.add(types, false));
        history
    }

    #[test]
    fn widths_and_nulls_do_not_mix() {
        let longs = of(&[&[8, 0]]);
        for same in [
            &[&[1, 0][..], &[8, 0]][..],
            &[&[6, 0], &[3, 0]],
            &[&[8, 0], &[6, 0]],
        ] {
            assert_eq!(of(same), longs, "{same:?}");
        }
        assert!(!longs.is_mixed());
    }

    #[test]
    fn another_type_does() {
        for mixed in [
            &[&[8, 0][..], &[5, 0]][..],
            &[&[8, 0], &[8, 0x80]],
            &[&[8, 0], &[8, 0, 8, 0]],
        ] {
            assert!(of(mixed).is_mixed(), "{mixed:?}");
        }
        assert_ne!(of(&[&[8, 0]]).hash(), of(&[&[5, 0]]).hash());
    }
}
