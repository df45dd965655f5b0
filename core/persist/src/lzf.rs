//! LZF, the compression that RDB strings use: our own encoder and a decoder that trusts nothing.
//!
//! A stream is a row of steps, each opened by one control byte:
//! ```text
//! 000LLLLL <L+1 bytes>            copy the next L+1 bytes (1..=32) as they are
//! LLLooooo oooooooo               LLL = 1..=6: copy L+2 bytes from (o + 1) bytes back, o = 0..=8191
//! 111ooooo LLLLLLLL oooooooo      copy L+9 bytes (9..=264) from (o + 1) bytes back
//! ```
//! A copy may overlap what it writes. Nothing marks the end: both lengths are known from outside.

const LITERAL_BYTES_MAX: usize = 32;
const DISTANCE_MAX: usize = 8192;
const MATCH_BYTES_MIN: usize = 3;
const MATCH_BYTES_MAX: usize = 264;
const TABLE_BITS: u32 = 14;

/// The most output bytes that `compressed` input bytes can stand for: three bytes yield at most 264.
pub fn expanded_bytes_max(compressed: u64) -> u64 {
    compressed.saturating_mul(MATCH_BYTES_MAX as u64 / 3)
}

/// Reusable encoder: holds the table of last positions, so that a snapshot allocates it once.
#[derive(Debug)]
pub struct Encoder {
    // `past` + position + 1 of the last triple with this hash. What is not above `past` is of an input before this one: so
    // the table, which is larger than most inputs, need not be emptied for each.
    table: Vec<u32>,
    past: u32,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// An encoder with an empty table (64 KiB, allocated at the first use).
    pub fn new() -> Encoder {
        Encoder { table: Vec::new(), past: 0 }
    }

    /// Appends the compressed form of `input` to `out` when it is at most `bytes_max` long; otherwise leaves
    /// `out` as it was and answers false. Inputs over 4 GiB are not tried.
    pub fn compress(&mut self, input: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let Ok(input_len) = u32::try_from(input.len()) else { return false };
        if self.table.is_empty() || self.past.checked_add(input_len).is_none() {
            self.table.clear();
            self.table.resize(1 << TABLE_BITS, 0);
            self.past = 0;
        }
        let fits = self.compress_from(input, out, bytes_max);
        self.past += input_len;
        fits
    }

    fn compress_from(&mut self, input: &[u8], out: &mut Vec<u8>, bytes_max: usize) -> bool {
        let start = out.len();
        let (mut at, mut literal) = (0, 0);
        while at + MATCH_BYTES_MIN <= input.len() {
            if out.len() - start > bytes_max {
                out.truncate(start);
                return false;
            }
            match self.find(input, at) {
                Some((distance, length)) => {
                    push_literals(out, &input[literal..at]);
                    push_match(out, distance, length);
                    at += length;
                    literal = at;
                }
                None => at += 1,
            }
        }
        push_literals(out, &input[literal..]);
        let fits = out.len() - start <= bytes_max;
        if !fits {
            out.truncate(start);
        }
        fits
    }

    /// The match for the bytes at `at`, as (distance, length), and notes the position.
    fn find(&mut self, input: &[u8], at: usize) -> Option<(usize, usize)> {
        let triple = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
        let slot = (triple.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS)) as usize;
        // Three bytes follow, so this is at most `past` and the length of the input.
        let last = std::mem::replace(&mut self.table[slot], self.past + at as u32 + 1);
        let from = last.checked_sub(self.past + 1)? as usize;
        if at - from > DISTANCE_MAX {
            return None;
        }
        let most = MATCH_BYTES_MAX.min(input.len() - at);
        let length = same_bytes(&input[at..][..most], &input[from..][..most]);
        (length >= MATCH_BYTES_MIN).then_some((at - from, length))
    }
}

/// How many bytes are the same at the beginning of both, which are equally long.
fn same_bytes(a: &[u8], b: &[u8]) -> usize {
    const WORD: usize = 8;
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    let mut same = 0;
    for (a, b) in a.chunks_exact(WORD).zip(b.chunks_exact(WORD)) {
        let difference = word(a) ^ word(b);
        if difference != 0 {
            return same + difference.trailing_zeros() as usize / 8;
        }
        same += WORD;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

fn push_literals(out: &mut Vec<u8>, bytes: &[u8]) {
    for run in bytes.chunks(LITERAL_BYTES_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn push_match(out: &mut Vec<u8>, distance: usize, length: usize) {
    let (back, length) = (distance - 1, length - 2);
    let high = (back >> 8) as u8;
    if length < 7 {
        out.push(((length as u8) << 5) | high);
    } else {
        out.push((7 << 5) | high);
        out.push((length - 7) as u8);
    }
    out.push(back as u8);
}

/// The `length` bytes that `input` stands for, or `None` when it is damaged or stands for another length.
/// Allocates at most `length` bytes, and nothing when `input` is too short to yield them.
pub fn decompress(input: &[u8], length: usize) -> Option<Vec<u8>> {
    if length as u64 > expanded_bytes_max(input.len() as u64) {
        return None;
    }
    let mut out = Vec::with_capacity(length);
    let mut rest = input;
    while let Some((&control, tail)) = rest.split_first() {
        let control = usize::from(control);
        if control < LITERAL_BYTES_MAX {
            let run = tail.get(..=control)?;
            out.extend_from_slice(run);
            rest = &tail[control + 1..];
        } else {
            rest = copy_back(&mut out, control, tail, length)?;
        }
        if out.len() > length {
            return None;
        }
    }
    (out.len() == length).then_some(out)
}

/// Carries out one copy step and gives what follows it.
fn copy_back<'a>(out: &mut Vec<u8>, control: usize, tail: &'a [u8], limit: usize) -> Option<&'a [u8]> {
    let (mut count, mut tail) = (control >> 5, tail);
    if count == 7 {
        let (&more, after) = tail.split_first()?;
        count += usize::from(more);
        tail = after;
    }
    let (&low, after) = tail.split_first()?;
    let distance = ((control & 0x1f) << 8 | usize::from(low)) + 1;
    let from = out.len().checked_sub(distance)?;
    let count = count + 2;
    if out.len() + count > limit {
        return None;
    }
    if distance >= count {
        out.extend_from_within(from..from + count);
    } else {
        for at in from..from + count {
            out.push(out[at]);
        }
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(random: &mut base::Random) -> Vec<u8> {
        let limit = if random.below(8) == 0 { 40_000 } else { 600 };
        let length = random.below(limit) as usize;
        let letters = 1 + random.below(256);
        let mut bytes: Vec<u8> = Vec::new();
        while bytes.len() < length {
            if bytes.len() > 10 && random.below(3) == 0 {
                let from = random.below(bytes.len() as u64) as usize;
                let count = (random.below(400) as usize).min(bytes.len() - from);
                bytes.extend_from_within(from..from + count);
            } else {
                bytes.push(random.below(letters) as u8);
            }
        }
        bytes
    }

    #[test]
    fn whatever_goes_in_comes_out() {
        let mut encoder = Encoder::new();
        for seed in 0..2000 {
            let bytes = sample(&mut base::Random::new(seed));
            let mut packed = b"kept".to_vec();
            assert!(encoder.compress(&bytes, &mut packed, usize::MAX), "seed {seed}");
            assert_eq!(&packed[..4], b"kept");
            assert_eq!(decompress(&packed[4..], bytes.len()).as_deref(), Some(&bytes[..]), "seed {seed}");
        }
    }

    #[test]
    fn an_encoder_that_has_been_used_gives_what_a_new_one_gives() {
        let mut used = Encoder::new();
        for seed in 0..500 {
            let bytes = sample(&mut base::Random::new(seed));
            if seed % 100 == 99 {
                used.past = u32::MAX - 10; // As after many inputs.
            }
            let (mut by_used, mut by_new) = (Vec::new(), Vec::new());
            let max = bytes.len().saturating_sub(4);
            let fits = used.compress(&bytes, &mut by_used, max);
            assert_eq!(Encoder::new().compress(&bytes, &mut by_new, max), fits, "seed {seed}");
            assert_eq!(by_used, by_new, "seed {seed}");
        }
    }

    #[test]
    fn what_is_the_same_is_measured_to_the_byte() {
        let bytes = [7; 40];
        for length in 0..=bytes.len() {
            let mut other = bytes;
            if let Some(byte) = other.get_mut(length) {
                *byte ^= 0x40;
            }
            assert_eq!(same_bytes(&bytes, &other), length);
            let most = length.min(20);
            assert_eq!(same_bytes(&bytes[..20], &other[..20]), most);
        }
    }

    #[test]
    fn repetition_shrinks_and_noise_is_given_up() {
        let mut out = Vec::new();
        assert!(Encoder::new().compress(&[b'a'; 1000], &mut out, 996));
        assert!(out.len() < 30, "{}", out.len());
        let mut random = base::Random::new(5);
        let noise: Vec<u8> = (0..1000).map(|_| random.next_u64() as u8).collect();
        out.clear();
        assert!(!Encoder::new().compress(&noise, &mut out, 996));
        assert!(out.is_empty());
    }

    #[test]
    fn damage_never_panics_and_never_exceeds_the_length() {
        for seed in 0..3000 {
            let mut random = base::Random::new(seed);
            let bytes = sample(&mut random);
            let mut packed = Vec::new();
            Encoder::new().compress(&bytes, &mut packed, usize::MAX);
            for _ in 0..3 {
                if packed.is_empty() {
                    break;
                }
                let at = random.below(packed.len() as u64) as usize;
                packed[at] = random.next_u64() as u8;
            }
            if let Some(out) = decompress(&packed, bytes.len()) {
                assert_eq!(out.len(), bytes.len());
            }
        }
        assert_eq!(decompress(&[0x20, 0x00], 3), None, "a copy from before the start");
        assert_eq!(decompress(&[0], 1), None, "a literal cut short");
        assert_eq!(decompress(b"", usize::MAX), None);
    }
}
