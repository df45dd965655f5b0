//! How long calls took: counts in buckets that grow by a quarter of a power of two.
//!
//! One increment a call; a percentile is exact to a quarter. Buckets exist only once something was recorded,
//! because most commands are never called.

/// Parts of each power of two, as bits.
const PART_BITS: u32 = 2;

/// Powers of two covered: 2^40 units are about 18 minutes; longer calls count there.
const POWERS: usize = 40;

const BUCKETS: usize = POWERS << PART_BITS;

/// log2 of units in a microsecond.
const MICROSECOND_BITS: u32 = 10;

/// Counts of durations.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Option<Box<[u64; BUCKETS]>>,
    total: u64,
}

/// Nanoseconds into 1/1024 microseconds, so that bounds in microseconds are powers of two.
fn units(nanos: u64) -> u64 {
    nanos.saturating_mul(1049) >> 10
}

fn bucket(units: u64) -> usize {
    let units = units.max(1 << PART_BITS);
    let power = units.ilog2();
    let part = (units >> (power - PART_BITS)) as usize & ((1 << PART_BITS) - 1);
    (((power as usize) << PART_BITS) + part).min(BUCKETS - 1)
}

/// The first value, in units, above a bucket.
fn upper(bucket: usize) -> u64 {
    let (power, part) = (bucket >> PART_BITS, bucket & ((1 << PART_BITS) - 1));
    ((1u64 << PART_BITS) + part as u64 + 1) << power >> PART_BITS
}

impl Histogram {
    /// Counts one duration.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
        counts[bucket(units(nanos))] += 1;
        self.total += 1;
    }

    /// How many were counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many took less than 2^`power` microseconds.
    pub fn below_us(&self, power: u32) -> u64 {
        let end = (((power + MICROSECOND_BITS) as usize) << PART_BITS).min(BUCKETS);
        self.counts.as_ref().map_or(0, |counts| counts[..end].iter().sum())
    }

    /// Bounds in microseconds with how many took no longer; only where the number grows. The bounds are those of Redis, whose buckets
    /// end at powers of two of 1024 ns, plus their own width, an 128th: 1, 2, 4, 8, 16, 33, 66 and so on.
    pub fn cumulative_us(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut before = 0;
        (0..=(POWERS as u32 - MICROSECOND_BITS)).filter_map(move |power| {
            let count = self.below_us(power);
            let grows = count > before;
            before = count;
            let nanos = 1u64 << (power + MICROSECOND_BITS);
            grows.then_some(((nanos + nanos / 128 - 1) / 1000, count))
        })
    }

    /// The duration in microseconds that `percent` (0 to 100) of the calls did not exceed; 0 for no calls.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let Some(counts) = &self.counts else { return 0.0 };
        let rank = ((percent / 100.0 * self.total as f64).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(bucket) as f64 / f64::from(1 << MICROSECOND_BITS);
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_a_quarter() {
        let mut histogram = Histogram::default();
        for us in 1..=1000u64 {
            histogram.record(us * 1000);
        }
        for percent in [1.0, 50.0, 99.0, 99.9, 100.0] {
            let (got, exact) = (histogram.percentile_us(percent), percent * 10.0);
            assert!(got >= exact * 0.99 && got <= exact * 1.27 + 0.1, "{percent}: {got}");
        }
        assert_eq!(Histogram::default().percentile_us(50.0), 0.0);
    }

    #[test]
    fn bounds_are_those_of_redis_and_counts_add_up() {
        let mut histogram = Histogram::default();
        for nanos in [0, 900, 1_500, 3_000, 1_000_000, u64::MAX] {
            histogram.record(nanos);
        }
        let found: Vec<_> = histogram.cumulative_us().collect();
        assert_eq!(found, [(1, 2), (2, 3), (4, 4), (1056, 5), (1_108_101_562, 6)]);
        assert_eq!(histogram.len(), 6);
    }

    #[test]
    fn every_duration_is_below_its_buckets_bound_and_not_below_the_last() {
        for units in (4..5000).chain([1 << 20, (1 << 20) + 1, (1 << 30) - 1]) {
            let at = bucket(units);
            assert!(units < upper(at) && units >= upper(at - 1), "{units}");
        }
    }
}
