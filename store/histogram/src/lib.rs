//! Takes the place of openraft's histograms, which nobody reads.
//!
//! openraft counts sizes of batches in histograms that only its feature `runtime-stats` can show;
//! we build without it. The crate it uses for them, `base2histogram` 0.2.3, makes its tables for
//! all sixteen resolutions on first use, 27 MB that stay in memory, of which openraft needs one
//! of a few hundred bytes. This one has the same names and counts nothing.
//!
//! # Invariants
//!
//! * Only openraft uses it, by `[patch.crates-io]` in the root `Cargo.toml`.
//! * It goes when openraft, or the crate itself, no longer makes those tables.

#![deny(missing_docs)]

use std::fmt;
use std::marker::PhantomData;

/// Takes values and forgets them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Histogram<T = ()> {
    slots: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// An empty one, as it stays.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: PhantomData }
    }

    /// Forgets a value.
    pub const fn record(&mut self, _value: u64) {}

    /// Forgets a value that came so many times.
    pub const fn record_n(&mut self, _value: u64, _n_times: u64) {}

    /// What is known: nothing.
    #[must_use]
    pub const fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: 0,
            p0_1: 0,
            p1: 0,
            p5: 0,
            p10: 0,
            p50: 0,
            p90: 0,
            p99: 0,
            p99_9: 0,
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a histogram would know.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PercentileStats {
    /// Values that were recorded.
    pub samples: u64,
    /// One of 1,000 is at most this.
    pub p0_1: u64,
    /// 1 of 100 is at most this.
    pub p1: u64,
    /// 5 of 100 are at most this.
    pub p5: u64,
    /// 10 of 100 are at most this.
    pub p10: u64,
    /// Half of all are at most this.
    pub p50: u64,
    /// 90 of 100 are at most this.
    pub p90: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
    /// 999 of 1,000 are at most this.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}

/// Draws histograms that have nothing in them.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// An empty chart.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// The same chart.
    #[must_use]
    pub fn add<T>(self, _name: &str, _histogram: Histogram<T>) -> Self {
        self
    }

    /// The chart.
    #[must_use]
    pub const fn compact(&self) -> Self {
        Self
    }

    /// The chart.
    #[must_use]
    pub const fn detailed(&self) -> Self {
        Self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not counted")
    }
}
