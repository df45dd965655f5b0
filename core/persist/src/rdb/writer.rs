//! Writes an RDB piece by piece into memory, with the checksum carried along as pieces are drained.
//!
//! The caller decides what is a value (the codecs live with the types); this file decides how a length, a
//! string or a double looks. Bytes leave through [`Writer::drain`], so a snapshot holds one slice at a time.

use std::io;

use super::opcode;
use crate::{lzf, pack::listpack};

/// Strings up to this length are not worth compressing, bytes (as in Redis).
const UNCOMPRESSED_BYTES_MAX: usize = 20;

/// Bytes of a long string that are written at a time.
const PART_BYTES: usize = 64 << 10;

/// An RDB, or a part of one, under construction.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    crc: u64,
    summed: usize,
    checksum: bool,
    lzf: Option<lzf::Encoder>,
    sample: Sample,
}

/// Bytes of strings that are tried before it is judged whether compression pays.
const SAMPLE_BYTES: u64 = 64 << 10;
/// It pays when at least one part in so many is saved.
const SAVED_PART: u64 = 8;
/// Bytes that are written as they are after a sample that did not pay, at first; twice as many after each further one.
const PASSED_BYTES_MIN: u64 = 512 << 10;
/// The most of them: data changes.
const PASSED_BYTES_MAX: u64 = 8 << 20;
/// Of a longer string a part is tried before all of it.
const TRIED_WHOLE_BYTES_MAX: usize = 256 << 10;

/// Whether compression pays for the data at hand: strings are tried until enough were seen, and left alone for a while
/// if little was saved. A snapshot of what does not shrink costs a quarter of the time so.
#[derive(Debug, Default)]
struct Sample {
    tried: u64,
    saved: u64,
    /// Bytes that are still to be written as they are.
    passing: u64,
    /// How many they were the last time.
    passed: u64,
}

impl Sample {
    /// Whether the next string, of so many bytes, is to be tried.
    fn wants(&mut self, bytes: u64) -> bool {
        let is_wanted = self.passing == 0;
        self.passing = self.passing.saturating_sub(bytes);
        is_wanted
    }

    /// Takes note of what a trial has saved.
    fn note(&mut self, bytes: u64, saved: u64) {
        (self.tried, self.saved) = (self.tried + bytes, self.saved + saved);
        if self.tried < SAMPLE_BYTES {
            return;
        }
        let pays = self.saved >= self.tried / SAVED_PART;
        self.passed = if pays { 0 } else { (2 * self.passed).clamp(PASSED_BYTES_MIN, PASSED_BYTES_MAX) };
        (self.tried, self.saved, self.passing) = (0, 0, self.passed);
    }
}

impl Writer {
    /// An empty writer. `compress` is `rdbcompression`, `checksum` is `rdbchecksum` (without, the file ends in
    /// eight zeros, which loaders take for "not computed").
    pub fn new(compress: bool, checksum: bool) -> Writer {
        let lzf = compress.then(lzf::Encoder::new);
        Writer { out: Vec::new(), crc: 0, summed: 0, checksum, lzf, sample: Sample::default() }
    }

    /// The magic and `version`, see the module's text for which to use. First call of a file.
    pub fn header(&mut self, version: u16) {
        self.out.extend_from_slice(format!("REDIS{version:04}").as_bytes());
    }

    /// One fact about the file: `redis-ver`, `redis-bits`, `ctime`, `used-mem`, `aof-base`, ...
    pub fn aux(&mut self, key: &[u8], value: &[u8]) {
        self.out.push(opcode::AUX);
        self.string(key);
        self.string(value);
    }

    /// The facts that Redis writes, with `used_memory` in bytes and `aof_base` telling a base file of the log.
    pub fn standard_aux(&mut self, redis_version: &str, unix_ms: i64, used_memory: u64, aof_base: bool) {
        self.aux(b"redis-ver", redis_version.as_bytes());
        self.aux(b"redis-bits", b"64");
        self.aux(b"ctime", unix_ms.div_euclid(1000).to_string().as_bytes());
        self.aux(b"used-mem", used_memory.to_string().as_bytes());
        self.aux(b"aof-base", if aof_base { b"1" } else { b"0" });
    }

    /// One function library, as its source text.
    pub fn function(&mut self, code: &[u8]) {
        self.out.push(opcode::FUNCTION);
        self.string(code);
    }

    /// The entries that follow are in database `db`.
    pub fn select_db(&mut self, db: u64) {
        self.out.push(opcode::SELECT_DB);
        self.length(db);
    }

    /// A hint: how many keys follow in this database, and how many of them expire.
    pub fn resize_db(&mut self, keys: u64, expires: u64) {
        self.out.push(opcode::RESIZE_DB);
        self.length(keys);
        self.length(expires);
    }

    /// The next key expires at this unix time. Comes before `idle` and `freq`.
    pub fn expiry_ms(&mut self, unix_ms: i64) {
        self.out.push(opcode::EXPIRY_MS);
        self.milliseconds(unix_ms);
    }

    /// The next key was last used so many seconds ago (LRU policies).
    pub fn idle(&mut self, seconds: u64) {
        self.out.push(opcode::IDLE);
        self.length(seconds);
    }

    /// The logarithmic use counter of the next key (LFU policies).
    pub fn freq(&mut self, freq: u8) {
        self.out.extend_from_slice(&[opcode::FREQ, freq]);
    }

    /// The type byte (see [`super::kind`]) and the key; the pieces of the value follow.
    pub fn key(&mut self, kind: u8, key: &[u8]) {
        self.out.push(kind);
        self.string(key);
    }

    /// A type byte alone, as a DUMP payload begins.
    pub fn kind(&mut self, kind: u8) {
        self.out.push(kind);
    }

    /// A length, count or other unsigned number.
    pub fn length(&mut self, length: u64) {
        let out = &mut self.out;
        if length < 1 << 6 {
            out.push(length as u8);
        } else if length < 1 << 14 {
            out.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]);
        } else if let Ok(short) = u32::try_from(length) {
            out.push(0x80);
            out.extend_from_slice(&short.to_be_bytes());
        } else {
            out.push(0x81);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }

    /// A string: as an integer if it is the text of a 32-bit one, compressed if that helps, else as it is.
    pub fn string(&mut self, bytes: &[u8]) {
        let number = (bytes.len() <= 11).then(|| base::number::parse_i64(bytes)).flatten();
        if let Some(number) = number.and_then(|n| i32::try_from(n).ok()) {
            return self.short_integer(number);
        }
        match self.compressed(bytes) {
            Some(packed) => {
                self.compressed_lengths(packed.len(), bytes.len());
                self.out.extend_from_slice(&packed);
            }
            None => {
                self.length(bytes.len() as u64);
                self.out.extend_from_slice(bytes);
            }
        }
    }

    /// The same for a string that may be very long (and is no integer). `between` is called with no more than [`PART_BYTES`] come since, so
    /// that it never waits here as a whole.
    pub fn long_string(&mut self, bytes: &[u8], between: &mut dyn FnMut(&mut Writer)) {
        if bytes.len() <= PART_BYTES {
            return self.string(bytes);
        }
        let packed = self.compressed(bytes);
        match &packed {
            Some(packed) => self.compressed_lengths(packed.len(), bytes.len()),
            None => self.length(bytes.len() as u64),
        }
        for part in packed.as_deref().unwrap_or(bytes).chunks(PART_BYTES) {
            self.out.extend_from_slice(part);
            between(self);
        }
    }

    fn compressed_lengths(&mut self, packed: usize, bytes: usize) {
        self.out.push(0xc3);
        self.length(packed as u64);
        self.length(bytes as u64);
    }

    /// A string that is the decimal text of `value`, without making the text when it fits 32 bits.
    pub fn integer(&mut self, value: i64) {
        if let Ok(short) = i32::try_from(value) {
            return self.short_integer(short);
        }
        let mut text = Vec::with_capacity(20);
        base::number::push_i64(&mut text, value);
        self.length(text.len() as u64);
        self.out.extend_from_slice(&text);
    }

    fn short_integer(&mut self, value: i32) {
        let le = value.to_le_bytes();
        let (tag, width) = match value {
            -0x80..=0x7f => (0xc0, 1),
            -0x8000..=0x7fff => (0xc1, 2),
            _ => (0xc2, 4),
        };
        self.out.push(tag);
        self.out.extend_from_slice(&le[..width]);
    }

    /// The string compressed, if that helps.
    fn compressed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() <= UNCOMPRESSED_BYTES_MAX {
            return None;
        }
        let encoder = self.lzf.as_mut().filter(|_| self.sample.wants(bytes.len() as u64))?;
        let mut packed = Vec::with_capacity(bytes.len().min(TRIED_WHOLE_BYTES_MAX));
        if bytes.len() > TRIED_WHOLE_BYTES_MAX {
            let part = &bytes[bytes.len() / 2..][..SAMPLE_BYTES as usize];
            if !encoder.compress(part, &mut packed, part.len() - part.len() / SAVED_PART as usize) {
                return None;
            }
            packed.clear();
        }
        let fits = encoder.compress(bytes, &mut packed, bytes.len() - 4);
        let saved = if fits { bytes.len() - packed.len() } else { 0 };
        self.sample.note(bytes.len() as u64, saved as u64);
        fits.then_some(packed)
    }

    /// A double in eight bytes, as in ZSET_2.
    pub fn double(&mut self, value: f64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A unix time in eight bytes.
    pub fn milliseconds(&mut self, unix_ms: i64) {
        self.out.extend_from_slice(&unix_ms.to_le_bytes());
    }

    /// A whole packed list as one string.
    pub fn listpack(&mut self, list: &mut listpack::Builder) {
        self.string(list.as_bytes());
    }

    /// One node of LIST_QUICKLIST_2 that is a packed list.
    pub fn quicklist_packed(&mut self, list: &mut listpack::Builder) {
        self.length(2);
        self.string(list.as_bytes());
    }

    /// One node of LIST_QUICKLIST_2 that is a single large element.
    pub fn quicklist_plain(&mut self, element: &[u8]) {
        self.length(1);
        self.string(element);
    }

    /// Bytes that are in the format already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// The end of the file and its checksum. Last call of a file, before the last `drain`.
    pub fn end(&mut self) {
        self.out.push(opcode::EOF);
        let crc = if self.checksum { self.sum() } else { 0 };
        self.out.extend_from_slice(&crc.to_le_bytes());
        self.summed = self.out.len();
    }

    fn sum(&mut self) -> u64 {
        self.crc = base::crc64::update(self.crc, &self.out[self.summed..]);
        self.summed = self.out.len();
        self.crc
    }

    /// Bytes that wait to be drained.
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// The bytes that wait to be drained (all there are, if nothing was drained).
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// Hands what waits to `sink` and keeps the memory. After an error the file is worth nothing.
    pub fn drain(&mut self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.checksum {
            self.sum();
        }
        let result = sink(&self.out);
        self.out.clear();
        self.summed = 0;
        result
    }

    /// Makes room for so many bytes, which are about to be written.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve_exact(bytes);
    }

    /// What waits, taken out as its own vector.
    pub fn take(&mut self) -> Vec<u8> {
        if self.checksum {
            self.sum();
        }
        self.summed = 0;
        std::mem::take(&mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a kilobyte takes on average in a snapshot of so many.
    fn bytes_each(count: usize, value: &mut dyn FnMut(usize) -> Vec<u8>) -> (usize, u64) {
        let (mut writer, mut tried) = (Writer::new(true, false), 0);
        let mut bytes = 0;
        for number in 0..count {
            tried += u64::from(writer.sample.passing == 0);
            writer.string(&value(number));
            bytes += writer.take().len();
        }
        (bytes / count, tried)
    }

    #[test]
    fn what_does_not_shrink_is_hardly_tried_and_what_does_always_is() {
        let mut random = base::Random::new(3);
        let mut noise = |_| (0..1024).map(|_| random.next_u64() as u8).collect::<Vec<u8>>();
        let (bytes, tried) = bytes_each(40_000, &mut noise);
        assert!(bytes >= 1024 && tried < 1500, "{bytes} bytes, {tried} tried");
        let (bytes, tried) = bytes_each(4_000, &mut |number| format!("{number:08}").repeat(128).into_bytes());
        assert!(bytes < 100 && tried == 4_000, "{bytes} bytes, {tried} tried");
        // And it is found out when the data changes.
        let mut mixed = |number| if number < 10_000 { noise(number) } else { vec![b'x'; 1024] };
        assert!(bytes_each(40_000, &mut mixed).0 < 600);
    }

    #[test]
    fn a_long_string_leaves_in_parts_and_is_the_same() {
        let mut random = base::Random::new(5);
        let noise: Vec<u8> = (0..1 << 20).map(|_| random.next_u64() as u8).collect();
        for (string, compress) in
            [(noise, true), (b"abc".repeat(1 << 18), true), (vec![b'x'; 1 << 20], false)]
        {
            let (mut whole, mut writer) = (Writer::new(compress, false), Writer::new(compress, false));
            whole.string(&string);
            let (mut parts, mut largest) = (Vec::new(), 0);
            writer.long_string(&string, &mut |writer| {
                largest = largest.max(writer.pending());
                parts.extend(writer.take());
            });
            parts.extend(writer.take());
            assert!(largest > 0 && largest < PART_BYTES + 20, "{largest} bytes at once");
            assert!(parts == whole.take(), "the parts are not the whole");
        }
    }

    #[test]
    fn a_long_string_is_tried_in_part_first() {
        let mut random = base::Random::new(4);
        let noise: Vec<u8> = (0..TRIED_WHOLE_BYTES_MAX + 1).map(|_| random.next_u64() as u8).collect();
        let mut writer = Writer::new(true, false);
        writer.string(&noise);
        assert!(writer.take().len() > noise.len());
        assert_eq!(writer.sample.tried, 0, "the whole was not tried");
        writer.string(&vec![b'x'; 1 << 20]);
        assert!(writer.take().len() < 20_000);
    }
}
