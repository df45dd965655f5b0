//! `--rdb` and `--functions-rdb`: a snapshot as a replica gets it, into a file. `--replica`: what a replica gets behind it.
//!
//! A file has its name only when all of it is there and on the disk: a snapshot that ends early costs no earlier one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::form::Form;
use crate::progress::Progress;
use crate::session::Session;
use crate::value::Value;

/// Length of the text that ends a snapshot whose length was not known beforehand.
const MARK_BYTES: usize = 40;

/// The name that stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// How a snapshot ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// After so many bytes.
    Length(u64),
    /// With this text behind it.
    Mark(Vec<u8>),
}

/// Takes a snapshot into a file.
pub(crate) fn take(session: &mut Session<'_>, file: &str, functions_only: bool) -> Result<(), Failure> {
    session.connect()?;
    prepare(session, &["capa", "eof"])?;
    prepare(session, &["rdb-only", "1"])?;
    if functions_only && !prepare(session, &["rdb-filter-only", "functions"])? {
        // All of it would be another file than the one that was asked for.
        return Err(Failure::Sentence("The server cannot leave the keys out of a snapshot."));
    }
    let end = begin(session)?;
    session.screen.tell(match &end {
        End::Mark(_) => {
            format!("SYNC sent to master, writing bytes of bulk transfer until EOF marker to '{file}'")
        }
        End::Length(length) => format!("SYNC sent to master, writing {length} bytes to '{file}'"),
    });
    let length = if file == STANDARD_OUTPUT {
        let length = copy(session, &end, &mut |screen, bytes| screen.print(bytes))?;
        session.screen.flush()?;
        length
    } else {
        into_file(session, &end, Path::new(file))?
    };
    session.screen.tell(format!("Transfer finished with success after {length} bytes"));
    Ok(())
}

fn into_file(session: &mut Session<'_>, end: &End, path: &Path) -> Result<u64, Failure> {
    let opening = |error| Failure::File("Error opening", path.to_owned(), error);
    // What is there and is no file, such as a pipe or a device, is written as it is.
    if std::fs::metadata(path).is_ok_and(|about| !about.is_file()) {
        return fill(session, end, path, &mut File::create(path).map_err(opening)?);
    }
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".part-{}", std::process::id()));
    let mut file = File::create(&part).map_err(opening)?;
    let filled = fill(session, end, path, &mut file).and_then(|length| {
        file.sync_all().map_err(|error| writing(path, error))?;
        std::fs::rename(&part, path).map_err(|error| writing(path, error))?;
        Ok(length)
    });
    if filled.is_err() {
        // What is left then is told by its name.
        let _ = std::fs::remove_file(&part);
    }
    filled
}

/// Copies a snapshot into an open file.
fn fill(session: &mut Session<'_>, end: &End, path: &Path, file: &mut File) -> Result<u64, Failure> {
    let (mut failed, mut progress, mut received) = (None, Progress::default(), 0);
    let copied = copy(session, end, &mut |screen, bytes| {
        received += bytes.len() as u64;
        progress.tell(screen, || how_far(end, received));
        file.write_all(bytes).inspect_err(|error| {
            failed =
                Some(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error));
        })
    });
    progress.end(session.screen);
    match failed {
        Some(error) => Err(writing(path, error)),
        None => copied,
    }
}

fn how_far(end: &End, received: u64) -> String {
    match end {
        End::Length(all) => {
            format!("{received} of {all} bytes ({}%)", received.saturating_mul(100) / all.max(&1))
        }
        End::Mark(_) => format!("{received} bytes so far"),
    }
}

fn writing(path: &Path, error: io::Error) -> Failure {
    Failure::File("Error writing", PathBuf::from(path), error)
}

/// Tells the server something about us. Whether it has understood.
fn prepare(session: &mut Session<'_>, words: &[&str]) -> Result<bool, Failure> {
    let said = words.join(" ");
    session.screen.tell(format!("sending REPLCONF {said}"));
    let mut request = vec!["REPLCONF"];
    request.extend_from_slice(words);
    match session.ask(&request)? {
        Value::Error(text) => {
            session.screen.tell([format!("REPLCONF {} error: ", words[0]).as_bytes(), &text].concat());
            Ok(false)
        }
        _ => Ok(true),
    }
}

/// Asks for the snapshot; how it will end.
fn begin(session: &mut Session<'_>) -> Result<End, Failure> {
    session.link()?.send(&["SYNC"])?;
    let mut progress = Progress::default();
    loop {
        let line = session.link()?.bytes_until_line()?.trim_ascii().to_vec();
        if !line.is_empty() {
            progress.end(session.screen);
        }
        match line.split_first() {
            // The server is still there.
            None => progress.tell(session.screen, || "waiting for the server's snapshot".to_owned()),
            Some((b'$', length)) => return end_of(length).ok_or(Failure::Unexpected("SYNC")),
            Some(_) => return Err(Failure::Refusal("SYNC with master failed", line)),
        }
    }
}

fn end_of(length: &[u8]) -> Option<End> {
    if let Some(mark) = length.strip_prefix(b"EOF:") {
        return (mark.len() == MARK_BYTES).then(|| End::Mark(mark.to_vec()));
    }
    std::str::from_utf8(length).ok()?.parse().ok().map(End::Length)
}

type Sink<'s> = &'s mut dyn FnMut(&mut crate::screen::Screen, &[u8]) -> io::Result<()>;

/// Hands a snapshot on, without what ends it. How many bytes it had.
fn copy(session: &mut Session<'_>, end: &End, sink: Sink<'_>) -> Result<u64, Failure> {
    let mut length = 0_u64;
    let mut held: Vec<u8> = Vec::new();
    loop {
        if let End::Length(all) = end
            && length == *all
        {
            return Ok(length);
        }
        held.extend(session.link()?.bytes()?);
        let (whole, is_over) = whole(&held, end, length);
        sink(session.screen, &held[..whole])?;
        length += whole as u64;
        let behind = if is_over { whole + mark_length(end) } else { whole };
        held.drain(..behind);
        if is_over {
            session.link()?.give_back(&held);
            return Ok(length);
        }
    }
}

fn mark_length(end: &End) -> usize {
    match end {
        End::Mark(mark) => mark.len(),
        End::Length(_) => 0,
    }
}

/// How many of the bytes are certainly the snapshot's, and whether it ends there.
fn whole(held: &[u8], end: &End, length: u64) -> (usize, bool) {
    match end {
        End::Length(all) => {
            let missing = usize::try_from(all - length).unwrap_or(usize::MAX);
            (held.len().min(missing), held.len() >= missing)
        }
        End::Mark(mark) => match held.windows(mark.len()).position(|part| part == mark.as_slice()) {
            Some(at) => (at, true),
            // The mark's beginning may be among the last bytes.
            None => (held.len().saturating_sub(mark.len() - 1), false),
        },
    }
}

/// Prints what the server tells its replicas, without end.
pub(crate) fn follow(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect()?;
    prepare(session, &["capa", "eof"])?;
    let end = begin(session)?;
    session.screen.tell(match &end {
        End::Mark(_) => "SYNC with master, discarding bytes of bulk transfer until EOF marker...".to_owned(),
        End::Length(length) => format!("SYNC with master, discarding {length} bytes of bulk transfer..."),
    });
    let length = copy(session, &end, &mut |_, _| Ok(()))?;
    session.screen.tell(match &end {
        End::Mark(_) => format!("SYNC done after {length} bytes. Logging commands from master."),
        End::Length(_) => "SYNC done. Logging commands from master.".to_owned(),
    });
    session.style.form = Form::Csv;
    loop {
        let value = session.link()?.receive()?;
        session.screen.print(session.style.reply(&value))?;
        session.screen.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_how_it_ends() {
        let mark = [b'x'; MARK_BYTES];
        assert_eq!(end_of(b"12"), Some(End::Length(12)));
        assert_eq!(end_of(&[b"EOF:", &mark[..]].concat()), Some(End::Mark(mark.to_vec())));
        assert_eq!(end_of(b"EOF:short"), None);
        assert_eq!(end_of(b"-1"), None);
    }

    #[test]
    fn the_mark_is_found_wherever_the_pieces_are_cut() {
        let mark: Vec<u8> = (0..MARK_BYTES as u8).collect();
        let end = End::Mark(mark.clone());
        let bytes = [b"snapshot\x00\x01\x02".as_slice(), &mark, b"behind"].concat();
        for piece in 1..bytes.len() {
            let (mut held, mut out, mut rest) = (Vec::new(), Vec::new(), bytes.as_slice());
            loop {
                let (part, later) = rest.split_at(piece.min(rest.len()));
                rest = later;
                held.extend_from_slice(part);
                let (count, is_over) = whole(&held, &end, 0);
                out.extend(held.drain(..count));
                if is_over {
                    break;
                }
            }
            assert_eq!(out, b"snapshot\x00\x01\x02", "pieces of {piece}");
        }
    }

    #[test]
    fn a_known_length_is_kept_to() {
        assert_eq!(whole(b"abcdef", &End::Length(10), 6), (4, true));
        assert_eq!(whole(b"abc", &End::Length(10), 6), (3, false));
    }
}
