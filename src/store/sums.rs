//! The sums of a row, each named once: the columns of the file and of the admin table are made from this list.
//! Adds nothing up by itself but whole rows.

macro_rules! sums {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// What adds up over the executions of a row. Times in microseconds.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Sums {
            $($(#[$about])* pub $name: u64,)*
        }

        impl Sums {
            /// Names of the sums, which are the names of their columns, in order.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// The sums in the order of [`Self::NAMES`].
            pub fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name),*]
            }

            /// The sums from their values in that order.
            pub fn from_values(values: [u64; Self::NAMES.len()]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }
        }
    };
}

sums! {
    /// Executions, errors included.
    executions,
    /// Executions answered with an error.
    errors,
    /// Warnings.
    warnings,
    /// Executions over `analytics.slow_query_ms`.
    slow,
    /// Executions whose result said that no index was used.
    no_index_used,
    /// Rows sent.
    rows_sent,
    /// Rows changed.
    rows_affected,
    /// Bytes of requests.
    received_bytes,
    /// Bytes of answers.
    sent_bytes,
    /// Time waiting for a backend connection.
    queue_us,
    /// Time in the backend.
    backend_us,
    /// Time to the backend's first byte.
    first_byte_us,
    /// Time waiting for the client.
    drain_us,
    /// Time in all.
    total_us,
    /// Executions answered by the backend.
    by_backend,
    /// By a view.
    by_view,
    /// By the result cache.
    by_cache,
    /// By the proxy itself.
    by_local,
    /// By the virtual schema.
    by_admin,
    /// Time of those that the backend answered.
    by_backend_us,
    /// That a view answered.
    by_view_us,
    /// That the result cache answered.
    by_cache_us,
    /// That the proxy answered.
    by_local_us,
    /// That the virtual schema answered.
    by_admin_us,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_in_one_order() {
        let mut values = [0; Sums::NAMES.len()];
        for (place, value) in values.iter_mut().enumerate() {
            *value = place as u64 + 1;
        }
        let sums = Sums::from_values(values);
        assert_eq!((sums.executions, sums.errors, sums.by_admin_us), (1, 2, 24));
        assert_eq!(sums.values(), values);
        assert_eq!(Sums::NAMES[13], "total_us");
    }
}
