//! LCS: the longest common subsequence of two strings, as text, length, or matching ranges.

use crate::call::{Args, Call, Handled, read};
use crate::error::Error;
use keyspace::Text;

#[derive(Debug, Default)]
struct Options {
    length: bool,
    ranges: bool,
    shown_min: i64,
    with_lengths: bool,
}

/// Ranges of the two strings that are equal: where they begin, how long they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

pub(super) fn lcs(call: &mut Call<'_>) -> Handled {
    // Both are looked up before either is judged, as in Redis.
    let (a, b) = (string_at(call, 1), string_at(call, 2));
    let (a, b) = (a?, b?);
    let options = options(call.args)?;
    // The table for the search may have as many bytes as one string.
    let table_bytes_max = call.db.space().limits.string_bytes as u128;
    if (a.len() as u128 + 1) * (b.len() as u128 + 1) * size_of::<u32>() as u128 > table_bytes_max {
        return Err(Error::new(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = Lengths::new(&a, &b);
    let total = table.at(a.len(), b.len()) as usize;
    if options.length {
        call.reply.count(total);
        return read();
    }
    let matches = table.matches(&a, &b);
    if !options.ranges {
        let text: Vec<u8> = matches.iter().rev().flat_map(|m| &a[m.a..m.a + m.len]).copied().collect();
        call.reply.bulk(&text);
        return read();
    }
    reply_ranges(call, &matches, &options, total);
    read()
}

fn string_at(call: &mut Call<'_>, i: usize) -> Result<Vec<u8>, Error> {
    let text = call.db.text(call.args.at(i));
    let text = text.map_err(|_| Error::new("ERR The specified keys must contain string values"))?;
    Ok(text.as_ref().map(Text::to_vec).unwrap_or_default())
}

fn options(args: Args<'_>) -> Result<Options, Error> {
    let (mut options, mut i) = (Options::default(), 3);
    while i < args.len() {
        match () {
            () if args.is(i, "len") => options.length = true,
            () if args.is(i, "idx") => options.ranges = true,
            () if args.is(i, "withmatchlen") => options.with_lengths = true,
            () if args.is(i, "minmatchlen") && i + 1 < args.len() => {
                options.shown_min = args.int(i + 1)?;
                i += 1;
            }
            () => return Err(Error::SYNTAX),
        }
        i += 1;
    }
    if options.length && options.ranges {
        return Err(Error::new("ERR If you want both the length and indexes, please just use IDX."));
    }
    Ok(options)
}

fn reply_ranges(call: &mut Call<'_>, matches: &[Match], options: &Options, total: usize) {
    let shown: Vec<&Match> = matches.iter().filter(|m| m.len as i64 >= options.shown_min).collect();
    call.reply.map(2);
    call.reply.bulk(b"matches");
    call.reply.array(shown.len());
    for m in shown {
        call.reply.array(if options.with_lengths { 3 } else { 2 });
        for start in [m.a, m.b] {
            call.reply.array(2);
            call.reply.count(start);
            call.reply.count(start + m.len - 1);
        }
        if options.with_lengths {
            call.reply.count(m.len);
        }
    }
    call.reply.bulk(b"len");
    call.reply.count(total);
}

/// The length of the longest common subsequence of every pair of prefixes.
struct Lengths {
    cells: Vec<u32>,
    width: usize,
}

impl Lengths {
    fn new(a: &[u8], b: &[u8]) -> Lengths {
        let width = b.len() + 1;
        let mut cells = vec![0u32; (a.len() + 1) * width];
        for (i, x) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Lengths { cells, width }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }

    /// The matching ranges, the last ones first.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let (mut i, mut j) = (a.len(), b.len());
        let mut found: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                match found.last_mut() {
                    Some(m) if m.a == i && m.b == j => *m = Match { a: i - 1, b: j - 1, len: m.len + 1 },
                    _ => found.push(Match { a: i - 1, b: j - 1, len: 1 }),
                }
                (i, j) = (i - 1, j - 1);
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_found_from_the_end() {
        let (a, b) = (b"ohmytext", b"mynewtext");
        let table = Lengths::new(a, b);
        assert_eq!(table.at(a.len(), b.len()), 6);
        let expected = [Match { a: 4, b: 5, len: 4 }, Match { a: 2, b: 0, len: 2 }];
        assert_eq!(table.matches(a, b), expected);
        assert_eq!(Lengths::new(b"", b"x").matches(b"", b"x"), []);
    }
}
