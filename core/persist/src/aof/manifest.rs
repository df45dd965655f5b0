//! The manifest: which files make up the log, in the text form of Redis 7.
//!
//! A line is `file <name> seq <n> type <b|h|i>`, with further pairs kept as they are (Redis 8 adds offsets).
//! Names are plain file names; one with blanks or control bytes is quoted. The first line of ours says which log it is and
//! which base it has, with checksums (see `line`); Redis and Valkey pass over it, and leave it out when they write anew.

use std::fmt;

use super::line::{LogIdentity, MARK};

/// Longest line that is accepted, bytes (as in Redis).
const LINE_BYTES_MAX: usize = 1024;
/// Largest manifest that is accepted, bytes.
pub(super) const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// What a file is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The snapshot the log begins with.
    Base,
    /// Replaced; to be deleted.
    History,
    /// Commands.
    Incremental,
}

impl FileKind {
    fn letter(self) -> char {
        match self {
            FileKind::Base => 'b',
            FileKind::History => 'h',
            FileKind::Incremental => 'i',
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// A name in the log's directory.
    pub name: String,
    /// Grows with each new file of its kind.
    pub seq: u64,
    /// What it is.
    pub kind: FileKind,
    /// Pairs that others wrote behind.
    pub extra: Vec<(String, String)>,
}

impl ManifestFile {
    /// A line without extras.
    pub fn new(name: String, seq: u64, kind: FileKind) -> ManifestFile {
        ManifestFile { name, seq, kind, extra: Vec::new() }
    }
}

/// The whole manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The snapshot, if any.
    pub base: Option<ManifestFile>,
    /// The commands, oldest first, sequence numbers ascending.
    pub incrementals: Vec<ManifestFile>,
    /// To be deleted.
    pub history: Vec<ManifestFile>,
    /// Which log it is; none if an earlier version or another server has written it.
    pub id: Option<LogIdentity>,
}

/// Why a manifest is refused, in Redis' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {})", self.what, self.line)
    }
}

impl std::error::Error for ManifestError {}

impl Manifest {
    /// Reads the text of a manifest.
    pub fn parse(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut manifest = Manifest::default();
        let (mut line_number, mut behind) = (0, 0);
        let fail = |line, what| Err(ManifestError { line, what });
        if text.is_empty() {
            return fail(1, "Found an empty AOF manifest");
        }
        for line in text.split_inclusive(|&b| b == b'\n') {
            line_number += 1;
            behind += line.len();
            if line.len() > LINE_BYTES_MAX {
                return fail(line_number, "The AOF manifest file contains too long line");
            }
            let whole = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
            if line.starts_with(MARK) {
                match whole.and_then(LogIdentity::parse) {
                    Some((id, crc)) if crc == base::crc64::update(0, &text[behind..]) => {
                        manifest.id = Some(id)
                    }
                    _ => {
                        return fail(
                            line_number,
                            "It is not as it was written, its checksum is wrong: restore it from a backup, or remove this line if it was changed on purpose",
                        );
                    }
                }
                continue;
            }
            if line[0] == b'#' {
                continue;
            }
            let file = whole.ok_or("Invalid AOF manifest file format").and_then(parse_line);
            if let Err(what) = file.and_then(|file| manifest.admit(file)) {
                return fail(line_number, what);
            }
        }
        Ok(manifest)
    }

    /// Reads a manifest in which one byte was changed, where its checksums tell which: what it was, and where that byte is.
    pub fn mend(text: &[u8]) -> Option<(Manifest, usize)> {
        let length = text.iter().position(|&byte| byte == b'\n').map(|end| end + 1)?;
        let (line, others) = text.split_at(length);
        let whole = std::str::from_utf8(line.trim_ascii_end()).ok().and_then(LogIdentity::parse);
        if let Some((_, crc)) = whole {
            let difference = base::crc64::update(0, others) ^ crc;
            let (at, change) = base::crc64::changed_byte(others.len() as u64, difference)?;
            let (mut mended, at) = (text.to_vec(), length + at as usize);
            mended[at] ^= change;
            return Manifest::parse(&mended).ok().map(|found| (found, at));
        }
        mend_line(text, length.min(LINE_BYTES_MAX))
    }

    fn admit(&mut self, file: ManifestFile) -> Result<(), &'static str> {
        match file.kind {
            FileKind::Base if self.base.is_some() => return Err("Found duplicate base file information"),
            FileKind::Base => self.base = Some(file),
            FileKind::History => self.history.push(file),
            FileKind::Incremental => {
                if self.incrementals.last().is_some_and(|last| last.seq >= file.seq) {
                    return Err("Found a non-monotonic sequence number");
                }
                self.incrementals.push(file);
            }
        }
        Ok(())
    }

    /// The text of the manifest.
    pub fn to_text(&self) -> String {
        let mut files = String::new();
        for file in self.base.iter().chain(&self.history).chain(&self.incrementals) {
            files += &format!("file {} seq {} type {}", quoted(&file.name), file.seq, file.kind.letter());
            for (key, value) in &file.extra {
                files += &format!(" {} {}", quoted(key), quoted(value));
            }
            files.push('\n');
        }
        self.id.map_or_else(String::new, |id| id.to_line(files.as_bytes())) + &files
    }

    /// Whether it names the file, as whatever.
    pub(super) fn names(&self, name: &str) -> bool {
        self.files().any(|file| file.name == name)
    }

    /// All that it names, as whatever.
    pub(super) fn files(&self) -> impl Iterator<Item = &ManifestFile> {
        self.base.iter().chain(&self.incrementals).chain(&self.history)
    }

    pub(super) fn next_base_seq(&self) -> u64 {
        let replaced = self.history.iter().filter(|file| !file.name.contains(".incr."));
        replaced.chain(&self.base).map(|file| file.seq).max().unwrap_or(0) + 1
    }

    pub(super) fn next_incremental_seq(&self) -> u64 {
        let replaced = self.history.iter().filter(|file| !file.name.contains(".base."));
        replaced.chain(&self.incrementals).map(|file| file.seq).max().unwrap_or(0) + 1
    }
}

/// Tries every change of one byte of the line of ours, which may have lost its end.
fn mend_line(text: &[u8], bytes: usize) -> Option<(Manifest, usize)> {
    let mut line = text[..bytes.min(text.len())].to_vec();
    for at in 0..line.len() {
        let is = line[at];
        for was in 0..=u8::MAX {
            line[at] = was;
            let first =
                line.split(|&byte| byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok());
            if first.and_then(LogIdentity::parse).is_some() {
                let mended = [&line, &text[line.len()..]].concat();
                return Manifest::parse(&mended).ok().map(|manifest| (manifest, at));
            }
        }
        line[at] = is;
    }
    None
}

fn parse_line(line: &str) -> Result<ManifestFile, &'static str> {
    const BAD: &str = "Invalid AOF manifest file format";
    let words = split(line).ok_or(BAD)?;
    let (pairs, odd) = words.as_chunks::<2>();
    if !odd.is_empty() || pairs.len() < 3 {
        return Err(BAD);
    }
    let (mut name, mut seq, mut kind, mut extra) = (None, None, None, Vec::new());
    for [key, value] in pairs {
        match key.to_ascii_lowercase().as_str() {
            "file" if value.contains('/') || value == ".." || value == "." || value.is_empty() => {
                return Err("File can't be a path, just a filename");
            }
            "file" => name = Some(value.clone()),
            "seq" => seq = base::number::parse_u64(value.as_bytes()).filter(|&n| n > 0 && n < 1 << 62),
            "type" => {
                kind = Some(match value.as_str() {
                    "b" => FileKind::Base,
                    "h" => FileKind::History,
                    "i" => FileKind::Incremental,
                    _ => return Err("Unknown AOF file type"),
                });
            }
            _ => extra.push((key.clone(), value.clone())),
        }
    }
    let (Some(name), Some(seq), Some(kind)) = (name, seq, kind) else { return Err(BAD) };
    Ok(ManifestFile { name, seq, kind, extra })
}

/// Words between blanks; in double quotes `\\`, `\"` and `\xHH` stand for bytes.
pub(super) fn split(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        match chars.peek() {
            None => return Some(words),
            Some('"') => {
                chars.next();
                words.push(quoted_word(&mut chars)?);
            }
            Some(_) => {
                let mut word = String::new();
                while let Some(c) = chars.next_if(|c| !c.is_ascii_whitespace()) {
                    word.push(c);
                }
                words.push(word);
            }
        }
    }
}

fn quoted_word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        match chars.next()? {
            '"' => return String::from_utf8(bytes).ok(),
            '\\' => match chars.next()? {
                'x' => {
                    let (high, low) = (chars.next()?.to_digit(16)?, chars.next()?.to_digit(16)?);
                    bytes.push((high * 16 + low) as u8);
                }
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'a' => bytes.push(0x07),
                'b' => bytes.push(0x08),
                other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            },
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

pub(super) fn quoted(word: &str) -> String {
    if !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(&b)) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for byte in word.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', byte as char]),
            b'\n' => text += "\\n",
            b'\r' => text += "\\r",
            b'\t' => text += "\\t",
            0x07 => text += "\\a",
            0x08 => text += "\\b",
            b' ' | 0x21..=0x7e => text.push(byte as char),
            _ => text += &format!("\\x{byte:02x}"),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_writes_is_read_and_written_the_same() {
        let text = "file appendonly.aof.1.base.rdb seq 1 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type i startoffset 0 endoffset 9\n\
                    file appendonly.aof.2.incr.aof seq 2 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.incrementals.len(), 2);
        assert_eq!(manifest.to_text(), text);
        let commented = format!("# a comment\n{text}");
        assert_eq!(Manifest::parse(commented.as_bytes()), Ok(manifest));
    }

    #[test]
    fn no_number_of_a_file_that_was_replaced_is_used_again() {
        let text = "file a.7.base.rdb seq 7 type b\n\
                    file a.9.base.rdb seq 9 type h\n\
                    file a.12.incr.aof seq 12 type h\n\
                    file a.11.incr.aof seq 11 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!((manifest.next_base_seq(), manifest.next_incremental_seq()), (10, 13));
        assert_eq!((Manifest::default().next_base_seq(), Manifest::default().next_incremental_seq()), (1, 1));
    }

    #[test]
    fn names_with_blanks_are_quoted() {
        let file = ManifestFile::new("my \"log\"\u{e9}.1.incr.aof".into(), 1, FileKind::Incremental);
        let manifest = Manifest { incrementals: vec![file], ..Manifest::default() };
        assert_eq!(Manifest::parse(manifest.to_text().as_bytes()), Ok(manifest));
    }

    #[test]
    fn what_is_wrong_is_said_as_redis_says_it() {
        let what = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err().what;
        assert_eq!(what(""), "Found an empty AOF manifest");
        assert_eq!(what("file a seq 1 type b"), "Invalid AOF manifest file format");
        assert_eq!(what("\n"), "Invalid AOF manifest file format");
        assert_eq!(what("file a seq 1\n"), "Invalid AOF manifest file format");
        assert_eq!(what("file a seq x type b\n"), "Invalid AOF manifest file format");
        assert_eq!(what("file ../a seq 1 type b\n"), "File can't be a path, just a filename");
        assert_eq!(what("file a seq 1 type z\n"), "Unknown AOF file type");
        assert_eq!(
            what("file a seq 1 type b\nfile c seq 2 type b\n"),
            "Found duplicate base file information"
        );
        assert_eq!(
            what("file a seq 2 type i\nfile c seq 2 type i\n"),
            "Found a non-monotonic sequence number"
        );
        assert_eq!(
            what(&format!("file {} seq 1 type b\n", "a".repeat(2000))),
            "The AOF manifest file contains too long line"
        );
    }
}
