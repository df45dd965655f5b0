//! Bounded memories: slow commands, latency events, rates.

use std::collections::{BTreeMap, VecDeque};

/// Most commands that one log keeps, whatever the configuration says: an entry is up to 5 kB.
const ENTRIES_MAX: usize = 1 << 16;
/// Arguments kept of a command, as in Redis.
const ARGS_MAX: usize = 32;
/// Bytes kept of an argument, as in Redis.
const ARG_BYTES_MAX: usize = 128;
/// Spikes kept of one event, as in Redis.
const SPIKES_MAX: usize = 160;
/// Distinct latency events; the names come from the program, not from clients.
const EVENTS_MAX: usize = 64;
/// Samples that a rate is the mean of, as in Redis.
const RATE_SAMPLES: usize = 16;

/// A command that stands out: it took long, or much came or went with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandEntry {
    /// Grows by one with each entry, also over a reset.
    pub id: u64,
    /// When it ended, Unix seconds.
    pub unix_s: i64,
    /// How long it ran, microseconds; or how large it was, bytes.
    pub value: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub client: Vec<u8>,
    /// The client's name.
    pub client_name: Vec<u8>,
}

/// The latest commands that stand out by one measure, newest first.
#[derive(Clone, Debug)]
pub struct CommandLog {
    entries: VecDeque<CommandEntry>,
    next_id: u64,
    threshold: i64,
    entries_max: usize,
}

impl Default for CommandLog {
    /// A log that takes nothing.
    fn default() -> CommandLog {
        CommandLog { entries: VecDeque::new(), next_id: 0, threshold: -1, entries_max: 0 }
    }
}

impl CommandLog {
    /// The microseconds or bytes from which a command belongs here (negative: none does), and how many are kept.
    pub fn configure(&mut self, threshold: i64, entries_max: usize) {
        self.threshold = threshold;
        self.entries_max = entries_max.min(ENTRIES_MAX);
        self.entries.truncate(self.entries_max);
    }

    /// Whether a command of this value belongs here.
    pub fn takes(&self, value: u64) -> bool {
        u64::try_from(self.threshold).is_ok_and(|threshold| value >= threshold)
    }

    /// Adds a command; the oldest leaves when there are too many.
    pub fn push(&mut self, unix_s: i64, value: u64, args: &[&[u8]], client: &[u8], client_name: &[u8]) {
        let entry = CommandEntry {
            id: self.next_id,
            unix_s,
            value,
            args: shorten(args),
            client: client.to_vec(),
            client_name: client_name.to_vec(),
        };
        self.next_id += 1;
        self.entries.push_front(entry);
        self.entries.truncate(self.entries_max);
    }

    /// The entries, newest first.
    pub fn entries(&self) -> impl Iterator<Item = &CommandEntry> {
        self.entries.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

fn shorten(args: &[&[u8]]) -> Vec<Vec<u8>> {
    let kept = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let mut short: Vec<Vec<u8>> = args[..kept].iter().map(|arg| shorten_one(arg)).collect();
    if kept < args.len() {
        short.push(format!("... ({} more arguments)", args.len() - kept).into_bytes());
    }
    short
}

fn shorten_one(arg: &[u8]) -> Vec<u8> {
    let mut short = arg[..arg.len().min(ARG_BYTES_MAX)].to_vec();
    if arg.len() > ARG_BYTES_MAX {
        short.extend(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).bytes());
    }
    short
}

/// The spikes of one kind of event.
#[derive(Clone, Debug, Default)]
pub struct LatencyEvent {
    spikes: VecDeque<(i64, u64)>,
    /// The longest ever, milliseconds.
    pub max_ms: u64,
}

impl LatencyEvent {
    /// Unix seconds and milliseconds of each spike, oldest first.
    pub fn spikes(&self) -> impl Iterator<Item = (i64, u64)> {
        self.spikes.iter().copied()
    }

    /// What the spikes have in common.
    pub fn summary(&self) -> LatencySummary {
        let count = self.spikes.len() as u64;
        let (Some((first_s, _)), Some((last_s, _)), 1..) = (self.spikes.front(), self.spikes.back(), count)
        else {
            return LatencySummary::default();
        };
        let mean_ms = self.spikes.iter().map(|(_, ms)| ms).sum::<u64>() / count;
        let deviation_ms = self.spikes.iter().map(|(_, ms)| ms.abs_diff(mean_ms)).sum::<u64>() / count;
        let period_s = (last_s - first_s) as f64 / (count as f64 - 1.0).max(1.0);
        LatencySummary { count, mean_ms, deviation_ms, period_s }
    }
}

/// The spikes of an event in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencySummary {
    /// How many.
    pub count: u64,
    /// Their mean, milliseconds.
    pub mean_ms: u64,
    /// Their mean distance from it, milliseconds.
    pub deviation_ms: u64,
    /// The mean time between two, seconds.
    pub period_s: f64,
}

/// What LATENCY LATEST and HISTORY tell.
#[derive(Clone, Debug, Default)]
pub struct LatencyEvents(BTreeMap<&'static str, LatencyEvent>);

impl LatencyEvents {
    /// Adds a spike if it reaches the threshold; 0 switches all off. Within a second the longest stays.
    pub fn record(&mut self, event: &'static str, unix_s: i64, ms: u64, threshold_ms: u64) {
        if threshold_ms == 0
            || ms < threshold_ms
            || (self.0.len() >= EVENTS_MAX && !self.0.contains_key(event))
        {
            return;
        }
        let entry = self.0.entry(event).or_default();
        entry.max_ms = entry.max_ms.max(ms);
        match entry.spikes.back_mut() {
            Some((second, longest)) if *second == unix_s => *longest = ms.max(*longest),
            _ => entry.spikes.push_back((unix_s, ms)),
        }
        if entry.spikes.len() > SPIKES_MAX {
            entry.spikes.pop_front();
        }
    }

    /// All events by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &LatencyEvent)> {
        self.0.iter().map(|(name, event)| (*name, event))
    }

    /// One event.
    pub fn event(&self, name: &str) -> Option<&LatencyEvent> {
        self.0.get(name)
    }

    /// Forgets the named events, or all when none is named; how many that were.
    pub fn reset(&mut self, names: &[&str]) -> usize {
        let before = self.0.len();
        self.0.retain(|name, _| !names.is_empty() && !names.contains(name));
        before - self.0.len()
    }
}

/// How fast a counter grows, as a mean over the last samples.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    last: Option<(u64, u64)>,
    samples: [u64; RATE_SAMPLES],
    next: usize,
}

impl Rate {
    /// Takes a sample of the counter at a time in milliseconds.
    pub fn sample(&mut self, mono_ms: u64, counter: u64) {
        if let Some((then_ms, then)) = self.last {
            let passed_ms = mono_ms.saturating_sub(then_ms).max(1);
            self.samples[self.next] = counter.saturating_sub(then).saturating_mul(1000) / passed_ms;
            self.next = (self.next + 1) % RATE_SAMPLES;
        }
        self.last = Some((mono_ms, counter));
    }

    /// Growth a second.
    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / RATE_SAMPLES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shortened_numbered_and_bounded() {
        let mut log = CommandLog::default();
        log.configure(10, 2);
        assert!(log.takes(10) && !log.takes(9));
        let long = vec![b'x'; 200];
        let args: Vec<&[u8]> = std::iter::repeat_n(long.as_slice(), 40).collect();
        for _ in 0..3 {
            log.push(7, 11, &args, b"a:1", b"me");
        }
        let entries: Vec<_> = log.entries().collect();
        assert_eq!(entries.iter().map(|entry| entry.id).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(entries[0].args.len(), 32);
        assert!(entries[0].args[0].ends_with(b"x... (72 more bytes)"));
        assert_eq!(entries[0].args[31], b"... (9 more arguments)");
        log.push(7, 11, &args[..32], b"", b"");
        assert!(log.entries().next().is_some_and(|entry| entry.args[31].ends_with(b"bytes)")));
        log.configure(-1, 2);
        assert!(!log.takes(u64::MAX));
    }

    #[test]
    fn spikes_below_the_threshold_are_ignored_and_a_second_keeps_its_longest() {
        let mut events = LatencyEvents::default();
        events.record("command", 1, 5, 0);
        events.record("command", 1, 5, 10);
        assert_eq!(events.iter().count(), 0);
        for (second, ms) in [(1, 20), (1, 30), (1, 25), (2, 11)] {
            events.record("command", second, ms, 10);
        }
        let event = events.event("command").unwrap();
        assert_eq!((event.spikes().collect::<Vec<_>>(), event.max_ms), (vec![(1, 30), (2, 11)], 30));
        assert_eq!((events.reset(&["other"]), events.reset(&[])), (0, 1));
    }

    #[test]
    fn a_rate_is_the_mean_of_its_samples() {
        let mut rate = Rate::default();
        for step in 0..=16 {
            rate.sample(step * 100, step * 50);
        }
        assert_eq!(rate.per_second(), 500);
    }
}
