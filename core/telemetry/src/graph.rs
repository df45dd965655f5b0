//! The picture of LATENCY GRAPH: one column a spike, four rows, its age below.
//!
//! ```text
//! command - high 500 ms, low 100 ms (all time high 500 ms)
//! --------------------------------------------------------------------------------
//!   #
//!  o|
//!  ||
//! _||
//!
//! 842
//! sss
//! ```

use crate::events::LatencyEvent;

/// Most columns: the latest spikes.
const COLUMNS_MAX: usize = 80;
const ROWS: usize = 4;
/// What stands in a cell, from its lowest third to its highest.
const CELL: [char; 3] = ['_', 'o', '#'];

/// The graph of an event at the time `now_s`, Unix seconds.
pub fn latency_graph(name: &str, event: &LatencyEvent, now_s: i64) -> String {
    let mut spikes: Vec<(i64, u64)> = event.spikes().collect();
    spikes.drain(..spikes.len().saturating_sub(COLUMNS_MAX));
    let high = spikes.iter().map(|(_, ms)| *ms).max().unwrap_or(0);
    let low = spikes.iter().map(|(_, ms)| *ms).min().unwrap_or(0);
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", event.max_ms);
    text.push_str(&"-".repeat(COLUMNS_MAX));
    text.push('\n');
    let steps = (ROWS * CELL.len()) as u64;
    let heights: Vec<usize> = spikes
        .iter()
        .map(|(_, ms)| (((ms - low) * steps / (high - low).max(1)).min(steps - 1)) as usize)
        .collect();
    for row in (0..ROWS).rev() {
        let bottom = row * CELL.len();
        text.extend(heights.iter().map(|height| match height.checked_sub(bottom) {
            None => ' ',
            Some(above) => CELL.get(above).copied().unwrap_or('|'),
        }));
        text.push('\n');
    }
    let ages: Vec<Vec<char>> = spikes.iter().map(|(at_s, _)| age(now_s - at_s).chars().collect()).collect();
    let longest = ages.iter().map(Vec::len).max().unwrap_or(0);
    text.extend(std::iter::repeat_n(' ', ages.len()));
    text.push('\n');
    for line in 0..longest {
        text.extend(ages.iter().map(|age| age.get(line).copied().unwrap_or(' ')));
        text.push('\n');
    }
    text
}

/// How long ago, in the largest unit that gives at least one.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use crate::LatencyEvents;

    #[test]
    fn columns_grow_with_the_spike_and_tell_their_age() {
        let mut events = LatencyEvents::default();
        for (at_s, ms) in [(10, 100), (20, 300), (30, 500)] {
            events.record("command", at_s, ms, 1);
        }
        let text = super::latency_graph("command", events.event("command").unwrap(), 89);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 500 ms, low 100 ms (all time high 500 ms)");
        assert_eq!(lines[1].len(), 80);
        assert_eq!(lines[2..], ["  #", " _|", " ||", "_||", "   ", "115", "mm9", "  s"]);
    }

    #[test]
    fn a_single_spike_lies_on_the_ground() {
        let mut events = LatencyEvents::default();
        events.record("command", 100, 20, 1);
        let text = super::latency_graph("command", events.event("command").unwrap(), 100);
        assert!(text.ends_with("\n \n \n \n_\n \n0\ns\n"), "{text}");
    }
}
