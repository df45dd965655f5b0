//! HyperLogLog sketches in the very bytes that Redis keeps under a key, so that GET, DUMP and files can be exchanged.
//!
//! ```text
//! "HYLL" | encoding u8: 0 dense, 1 sparse | 0 0 0 | cached cardinality u64 LE, top bit: not valid | registers
//! dense:  16384 registers of 6 bits, the lowest bits first
//! sparse: runs. 00nnnnnn: n+1 zeros; 01nnnnnn nnnnnnnn: n+1 zeros; 1vvvvvnn: n+1 registers of v+1
//! ```
//!
//! A sketch begins sparse, as one run of zeros; it becomes dense when a value exceeds 32 or the bytes exceed a limit, and never
//! goes back. How runs are split and joined is part of the format here: two servers that add the same elements must hold the
//! same bytes. Bytes come from clients (SET), so every walk checks that the runs cover the registers exactly.

use base::Random;

/// Registers of a sketch.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bytes up to which a sketch stays sparse, header included, when nothing else is said.
pub const SPARSE_BYTES_MAX: usize = 3000;

const INDEX_BITS: u32 = 14;
/// Bits of a hash that are left for the run of zeros.
const RANK_BITS: u32 = 64 - INDEX_BITS;
const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
const MAGIC: &[u8] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const ENCODING_AT: usize = 4;
const CACHE_AT: usize = 8;
const CACHE_INVALID: u64 = 1 << 63;
const ZERO_LEN_MAX: usize = 64;
const VALUE_LEN_MAX: usize = 4;
const VALUE_MAX: u8 = 32;

/// The runs of a sparse sketch do not cover its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// A new sketch, sparse, of nothing.
pub fn empty() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend([SPARSE, 0, 0, 0]);
    out.extend([0; 8]);
    push_zeros(&mut out, REGISTERS);
    out
}

/// Whether the bytes look like a sketch: magic, encoding, and the length of a dense one.
pub fn is_sketch(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER_BYTES
        && bytes.starts_with(MAGIC)
        && match bytes[ENCODING_AT] {
            DENSE => bytes.len() == DENSE_BYTES,
            SPARSE => true,
            _ => false,
        }
}

/// Whether a sketch is sparse.
pub fn is_sparse(sketch: &[u8]) -> bool {
    sketch[ENCODING_AT] == SPARSE
}

/// The cardinality that the header holds, unless elements have come since.
pub fn cached(sketch: &[u8]) -> Option<u64> {
    let bytes = sketch[CACHE_AT..HEADER_BYTES].try_into().ok()?;
    Some(u64::from_le_bytes(bytes)).filter(|value| value & CACHE_INVALID == 0)
}

/// Writes the cardinality into the header.
pub fn set_cached(sketch: &mut [u8], cardinality: u64) {
    sketch[CACHE_AT..HEADER_BYTES].copy_from_slice(&cardinality.to_le_bytes());
}

/// Tells that the header's cardinality holds no more; its other bits stay, as in Redis.
pub fn invalidate(sketch: &mut [u8]) {
    sketch[HEADER_BYTES - 1] |= 0x80;
}

/// The register that an element falls into, and the value it asks for (1 to 51).
pub fn place(element: &[u8]) -> (usize, u8) {
    const SEED: u64 = 0xadc8_3b19;
    let hash = murmur64(element, SEED);
    let rest = hash >> INDEX_BITS | 1 << RANK_BITS;
    ((hash as usize) & (REGISTERS - 1), rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash2 of 64 bits, variant A.
fn murmur64(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte)).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !words.remainder().is_empty() {
        hash ^= words.remainder().iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

/// A run of a sparse sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// 0 for a run of zeros.
    value: u8,
    len: usize,
    /// Bytes that it takes.
    size: usize,
}

/// The run at `at`.
fn run_at(bytes: &[u8], at: usize) -> Option<Run> {
    let first = *bytes.get(at)?;
    Some(match first >> 6 {
        0 => Run { value: 0, len: usize::from(first) + 1, size: 1 },
        1 => Run {
            value: 0,
            len: (usize::from(first & 0x3f) << 8 | usize::from(*bytes.get(at + 1)?)) + 1,
            size: 2,
        },
        _ => Run { value: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1, size: 1 },
    })
}

fn push_zeros(out: &mut Vec<u8>, len: usize) {
    if len > ZERO_LEN_MAX {
        out.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]);
    } else if len > 0 {
        out.push((len - 1) as u8);
    }
}

fn value_run(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// Calls `visit` for each run with the register it begins at.
fn each_run(sketch: &[u8], mut visit: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let (mut at, mut register) = (HEADER_BYTES, 0);
    while at < sketch.len() {
        let run = run_at(sketch, at).ok_or(Corrupt)?;
        if register + run.len > REGISTERS {
            return Err(Corrupt);
        }
        visit(register, run);
        register += run.len;
        at += run.size;
    }
    if register == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// Where a register's run stands.
#[derive(Clone, Copy, Debug)]
struct Found {
    at: usize,
    before: Option<usize>,
    first: usize,
    run: Run,
}

fn find_run(sketch: &[u8], index: usize) -> Result<Found, Corrupt> {
    let (mut at, mut first, mut before) = (HEADER_BYTES, 0, None);
    loop {
        let run = run_at(sketch, at).ok_or(Corrupt)?;
        if index < first + run.len {
            return Ok(Found { at, before, first, run });
        }
        before = Some(at);
        (at, first) = (at + run.size, first + run.len);
    }
}

/// The value of register `index`.
pub fn register(sketch: &[u8], index: usize) -> Result<u8, Corrupt> {
    if is_sparse(sketch) {
        find_run(sketch, index).map(|found| found.run.value)
    } else {
        Ok(dense_get(sketch, index))
    }
}

fn dense_get(sketch: &[u8], index: usize) -> u8 {
    let (at, shift) = (HEADER_BYTES + index * 6 / 8, index * 6 % 8);
    let pair = u16::from(sketch[at]) | u16::from(sketch.get(at + 1).copied().unwrap_or(0)) << 8;
    (pair >> shift) as u8 & 0x3f
}

fn dense_set(sketch: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (HEADER_BYTES + index * 6 / 8, index * 6 % 8);
    let (mask, bits) = (0x3fu16 << shift, u16::from(value) << shift);
    sketch[at] = sketch[at] & !mask as u8 | bits as u8;
    if mask > 0xff {
        sketch[at + 1] = sketch[at + 1] & !(mask >> 8) as u8 | (bits >> 8) as u8;
    }
}

/// Raises register `index` to `value` (1 to 51) if it is lower; whether it was. A sparse sketch becomes dense when it cannot hold the value
/// or would grow over `sparse_max` bytes.
pub fn raise(sketch: &mut Vec<u8>, index: usize, value: u8, sparse_max: usize) -> Result<bool, Corrupt> {
    if is_sparse(sketch) {
        let found = find_run(sketch, index)?;
        if found.run.value >= value {
            return Ok(false);
        }
        if value <= VALUE_MAX && raise_sparse(sketch, found, index, value, sparse_max) {
            return Ok(true);
        }
        make_dense(sketch)?;
    }
    let lower = dense_get(sketch, index) < value;
    if lower {
        dense_set(sketch, index, value);
    }
    Ok(lower)
}

/// False when the sketch would become too long.
fn raise_sparse(sketch: &mut Vec<u8>, found: Found, index: usize, value: u8, sparse_max: usize) -> bool {
    let Found { at, before, first, run } = found;
    let mut runs = Vec::with_capacity(5);
    let push_old = |runs: &mut Vec<u8>, len: usize| match (run.value, len) {
        (_, 0) => {}
        (0, len) => push_zeros(runs, len),
        (value, len) => runs.push(value_run(value, len)),
    };
    push_old(&mut runs, index - first);
    runs.push(value_run(value, 1));
    push_old(&mut runs, first + run.len - 1 - index);
    if runs.len() > run.size && sketch.len() + runs.len() - run.size > sparse_max {
        return false;
    }
    sketch.splice(at..at + run.size, runs);
    join(sketch, before.unwrap_or(HEADER_BYTES));
    invalidate(sketch);
    true
}

/// Joins neighbours of equal value, looking at five runs from `at` on (a joined one counts anew).
fn join(sketch: &mut Vec<u8>, mut at: usize) {
    const STEPS: usize = 5;
    for _ in 0..STEPS {
        let Some(run) = run_at(sketch, at) else { return };
        match run_at(sketch, at + 1) {
            Some(next) if run.value > 0 && next.value == run.value && run.len + next.len <= VALUE_LEN_MAX => {
                sketch[at + 1] = value_run(run.value, run.len + next.len);
                sketch.remove(at);
            }
            _ => at += run.size,
        }
    }
}

/// Adds an element; whether a register changed. The header's cardinality is then no more valid.
pub fn add(sketch: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> Result<bool, Corrupt> {
    let (index, value) = place(element);
    let raised = raise(sketch, index, value, sparse_max)?;
    if raised {
        invalidate(sketch);
    }
    Ok(raised)
}

/// Gives a sketch the dense form; whether it had another.
pub fn make_dense(sketch: &mut Vec<u8>) -> Result<bool, Corrupt> {
    if !is_sparse(sketch) {
        return Ok(false);
    }
    let mut dense = sketch[..HEADER_BYTES].to_vec();
    dense[ENCODING_AT] = DENSE;
    dense.resize(DENSE_BYTES, 0);
    each_run(sketch, |first, run| {
        if run.value > 0 {
            (first..first + run.len).for_each(|index| dense_set(&mut dense, index, run.value));
        }
    })?;
    *sketch = dense;
    Ok(true)
}

/// The runs of a sparse sketch as PFDEBUG shows them: `z:` and `Z:` zeros in one and two bytes, `v:` value and length.
pub fn describe(sketch: &[u8]) -> Result<String, Corrupt> {
    let mut parts = Vec::new();
    each_run(sketch, |_, run| {
        parts.push(match run {
            Run { value: 0, len, size: 1 } => format!("z:{len}"),
            Run { value: 0, len, .. } => format!("Z:{len}"),
            Run { value, len, .. } => format!("v:{value},{len}"),
        });
    })?;
    Ok(parts.join(" "))
}

/// Registers that are unpacked at a time: enough for their maxima to be taken many at once.
const BLOCK_REGISTERS: usize = 64;

/// The registers of a part of a dense sketch, a byte each: 48 bits are eight of them, and are spread out by halves.
fn unpacked(packed: &[u8]) -> [u8; BLOCK_REGISTERS] {
    let mut out = [0; BLOCK_REGISTERS];
    for (out, packed) in out.chunks_exact_mut(8).zip(packed.chunks_exact(6)) {
        let mut word = [0; 8];
        word[..6].copy_from_slice(packed);
        let word = u64::from_le_bytes(word);
        let word = (word & 0x0000_00ff_ffff) | (word & 0xffff_ff00_0000) << 8;
        let word = (word & 0x0000_0fff_0000_0fff) | (word & 0x00ff_f000_00ff_f000) << 4;
        let word = (word & 0x003f_003f_003f_003f) | (word & 0x0fc0_0fc0_0fc0_0fc0) << 2;
        out.copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// The registers of one or more sketches, one byte each.
#[derive(Clone, Debug)]
pub struct Registers(Vec<u8>);

impl Default for Registers {
    fn default() -> Registers {
        Registers(vec![0; REGISTERS])
    }
}

impl Registers {
    /// Takes over what is greater in `sketch`.
    pub fn merge(&mut self, sketch: &[u8]) -> Result<(), Corrupt> {
        if is_sparse(sketch) {
            return each_run(sketch, |first, run| {
                self.0[first..first + run.len].iter_mut().for_each(|mine| *mine = run.value.max(*mine));
            });
        }
        let packed = sketch[HEADER_BYTES..].chunks_exact(BLOCK_REGISTERS * 6 / 8);
        for (mine, packed) in self.0.chunks_exact_mut(BLOCK_REGISTERS).zip(packed) {
            let theirs = unpacked(packed);
            mine.iter_mut().zip(&theirs).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
        }
        Ok(())
    }

    /// Writes all of them into a dense sketch.
    pub fn write_dense(&self, sketch: &mut [u8]) {
        for (values, packed) in self.0.chunks_exact(4).zip(sketch[HEADER_BYTES..].chunks_exact_mut(3)) {
            let word = values.iter().rev().fold(0u32, |word, value| word << 6 | u32::from(*value));
            packed.copy_from_slice(&word.to_le_bytes()[..3]);
        }
    }

    /// Their values.
    pub fn values(&self) -> &[u8] {
        &self.0
    }

    /// The estimated number of different elements (Ertl's estimator).
    pub fn count(&self) -> u64 {
        const ALPHA: f64 = 0.5 / core::f64::consts::LN_2;
        // Neighbours are often equal, and counting one waits for the count before it: each of four has its own counts.
        let mut counts = [[0u32; 64]; 4];
        for values in self.0.chunks_exact(4) {
            (0..4).for_each(|lane| counts[lane][usize::from(values[lane] & 0x3f)] += 1);
        }
        let histogram: [u32; 64] =
            std::array::from_fn(|value| counts.iter().map(|counts| counts[value]).sum());
        let m = REGISTERS as f64;
        let full = f64::from(histogram[RANK_BITS as usize + 1]);
        let mut z = m * tau((m - full) / m);
        for &count in histogram[1..=RANK_BITS as usize].iter().rev() {
            z = (z + f64::from(count)) * 0.5;
        }
        z += m * sigma(f64::from(histogram[0]) / m);
        (ALPHA * m * m / z).round() as u64
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

/// The estimated number of different elements of a sketch, from its registers.
pub fn count(sketch: &[u8]) -> Result<u64, Corrupt> {
    let mut registers = Registers::default();
    registers.merge(sketch)?;
    Ok(registers.count())
}

/// PFSELFTEST: registers keep their values, both forms agree, and the estimate is within six standard errors up to a hundred thousand
/// elements. The text tells what failed.
pub fn self_test(random: &mut Random) -> Result<(), String> {
    const ELEMENTS: u64 = 100_000;
    const ERROR_MAX: f64 = 6.0 * 1.04 / 128.0;
    let (mut sparse, mut dense) = (empty(), empty());
    let corrupt = |_| "a sketch does not cover its registers".to_string();
    make_dense(&mut dense).map_err(corrupt)?;
    for index in 0..REGISTERS {
        let value = random.below(64) as u8;
        dense_set(&mut dense, index, value);
        if dense_get(&dense, index) != value {
            return Err(format!("register {index} does not keep {value}"));
        }
    }
    (0..REGISTERS).for_each(|index| dense_set(&mut dense, index, 0));
    let (seed, mut checked) = (random.next_u64(), 1);
    for n in 1..=ELEMENTS {
        let element = (seed ^ n).to_le_bytes();
        add(&mut sparse, &element, SPARSE_BYTES_MAX).map_err(corrupt)?;
        add(&mut dense, &element, SPARSE_BYTES_MAX).map_err(corrupt)?;
        if n == checked {
            checked *= 10;
            let (a, b) = (count(&sparse).map_err(corrupt)?, count(&dense).map_err(corrupt)?);
            let error = (a as f64 - n as f64).abs() / n as f64;
            if a != b || (error > ERROR_MAX && a.abs_diff(n) > 1) {
                return Err(format!("{n} elements are counted as {a} sparse, {b} dense"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_redis() {
        let mut sketch = empty();
        assert_eq!(sketch, b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff");
        for element in [b"a", b"b", b"c"] {
            assert_eq!(add(&mut sketch, element, SPARSE_BYTES_MAX), Ok(true));
        }
        assert_eq!(add(&mut sketch, b"a", SPARSE_BYTES_MAX), Ok(false));
        assert_eq!(describe(&sketch).as_deref(), Ok("Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603"));
        assert_eq!((cached(&sketch), count(&sketch)), (None, Ok(3)));
        set_cached(&mut sketch, 3);
        assert_eq!(cached(&sketch), Some(3));
    }

    #[test]
    fn both_forms_hold_the_same_registers() {
        let (mut sparse, mut dense, mut random) = (empty(), empty(), Random::new(3));
        make_dense(&mut dense).unwrap();
        for n in 0..1500u64 {
            let element = random.next_u64().to_le_bytes();
            assert_eq!(add(&mut sparse, &element, usize::MAX), add(&mut dense, &element, 0), "{n}");
        }
        assert!(is_sparse(&sparse) && !is_sparse(&dense));
        let (mut a, mut b) = (Registers::default(), Registers::default());
        a.merge(&sparse).unwrap();
        b.merge(&dense).unwrap();
        assert_eq!(a.values(), b.values());
        assert!((0..REGISTERS).all(|index| register(&sparse, index) == Ok(a.values()[index])));
        make_dense(&mut sparse).unwrap();
        assert_eq!(sparse, dense);
    }

    #[test]
    fn dense_registers_are_merged_and_written_as_one_by_one() {
        let mut random = Random::new(9);
        let (mut merged, mut greatest) = (Registers::default(), vec![0; REGISTERS]);
        for _ in 0..3 {
            let mut sketch = empty();
            make_dense(&mut sketch).unwrap();
            for (index, greatest) in greatest.iter_mut().enumerate() {
                let value = random.below(64) as u8;
                dense_set(&mut sketch, index, value);
                *greatest = value.max(*greatest);
            }
            merged.merge(&sketch).unwrap();
        }
        assert_eq!(merged.values(), greatest);
        let (mut written, mut expected) = (empty(), empty());
        make_dense(&mut written).unwrap();
        make_dense(&mut expected).unwrap();
        merged.write_dense(&mut written);
        (0..REGISTERS).for_each(|index| dense_set(&mut expected, index, greatest[index]));
        assert_eq!(written, expected);
    }

    #[test]
    fn equal_neighbours_are_joined() {
        let mut sketch = empty();
        for index in [7, 9, 8, 10, 11, 6] {
            raise(&mut sketch, index, 5, usize::MAX).unwrap();
        }
        assert_eq!(describe(&sketch).unwrap(), "z:6 v:5,1 v:5,4 v:5,1 Z:16372");
        raise(&mut sketch, 8, 33, usize::MAX).unwrap();
        assert!(!is_sparse(&sketch));
        assert_eq!(register(&sketch, 8), Ok(33));
    }

    #[test]
    fn runs_that_do_not_fit_are_refused() {
        let mut short = empty();
        short.truncate(HEADER_BYTES + 1);
        assert_eq!(count(&short), Err(Corrupt));
        assert_eq!(raise(&mut short, 3, 1, 3000), Err(Corrupt));
        let mut long = empty();
        long.push(0);
        assert_eq!(count(&long), Err(Corrupt));
        assert_eq!(make_dense(&mut long), Err(Corrupt));
        assert!(!is_sketch(b"HYLL") && !is_sketch(&[b"HYLL\0".as_slice(), &[0; 100]].concat()));
    }

    #[test]
    fn it_passes_its_own_test() {
        assert_eq!(self_test(&mut Random::new(1)), Ok(()));
        assert_eq!(Registers::default().count(), 0);
    }
}
