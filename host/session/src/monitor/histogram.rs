//! How long stages take, in buckets: one thread's counters, which are added up when somebody asks.
//!
//! The bounds are the same for every stage, from 100 us (a name that is known, a decision) to 5 min (a long stream).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const fn us(length: u64) -> u64 {
    length * 1000
}

const fn ms(length: u64) -> u64 {
    us(length * 1000)
}

/// Upper bounds of the buckets, inclusive, in nanoseconds. What is longer lies in one more bucket.
const BOUNDS: [u64; 20] = [
    us(100),
    us(250),
    us(500),
    ms(1),
    us(2500),
    ms(5),
    ms(10),
    ms(25),
    ms(50),
    ms(100),
    ms(250),
    ms(500),
    ms(1000),
    ms(2500),
    ms(5000),
    ms(10_000),
    ms(30_000),
    ms(60_000),
    ms(120_000),
    ms(300_000),
];

/// The buckets, the last one without a bound.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts of one thread, by length.
#[derive(Debug, Default)]
pub(super) struct Buckets([AtomicU64; BUCKETS]);

impl Buckets {
    pub(super) fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let index = BOUNDS.partition_point(|bound| *bound < nanos);
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the counts to others.
    pub(super) fn add_to(&self, sums: &mut [u64; BUCKETS]) {
        for (sum, count) in sums.iter_mut().zip(&self.0) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

/// The upper bounds in seconds, the last of them infinite.
pub(super) fn bounds() -> impl Iterator<Item = f64> {
    BOUNDS.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64()).chain([f64::INFINITY])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_lies_in_the_bucket_whose_bound_it_does_not_exceed() {
        for (length, expected) in [
            (Duration::ZERO, 0),
            (Duration::from_micros(100), 0),
            (Duration::from_nanos(100_001), 1),
            (Duration::from_secs(300), 19),
            (Duration::from_secs(301), 20),
            (Duration::MAX, 20),
        ] {
            let (buckets, mut sums) = (Buckets::default(), [0; BUCKETS]);
            buckets.add(length);
            buckets.add_to(&mut sums);
            assert_eq!(sums.iter().position(|count| *count == 1), Some(expected), "{length:?}");
        }
        assert!(BOUNDS.is_sorted());
        assert_eq!(bounds().last(), Some(f64::INFINITY));
    }
}
