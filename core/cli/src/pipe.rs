//! `--pipe`: requests as they stand in standard input, with a count of their replies in the end.
//!
//! Sending and receiving go on side by side, since a server that nobody listens to stops listening. The end is told by the reply
//! to an ECHO that nobody else can have sent.

use std::io::{self, Read};
use std::time::Duration;

use crate::failure::Failure;
use crate::link::{Link, LinkError};
use crate::progress::Progress;
use crate::session::Session;
use crate::value::Value;

/// What is read and sent at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// What has come back.
#[derive(Default)]
struct Count {
    replies: u64,
    errors: u64,
    sent_bytes: u64,
    progress: Progress,
    /// The last reply has come.
    is_over: bool,
}

/// Sends everything, then waits for the last reply.
pub(crate) fn load(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect_as_asked()?;
    let mark = mark();
    let mut count = Count::default();
    session.link()?.stop_waiting()?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = io::stdin().lock().read(&mut chunk).map_err(Failure::Input)?;
        if length == 0 {
            break;
        }
        send(session, &chunk[..length], &mut count, &mark)?;
    }
    // The line break ends a request that has none.
    let mut last = b"\r\n".to_vec();
    resp::push_command(&mut last, &[b"ECHO", mark.as_bytes()]);
    send(session, &last, &mut count, &mark)?;
    count.progress.end(session.screen);
    session.screen.print("All data transferred. Waiting for the last reply...\n")?;
    session.screen.flush()?;
    finish(session, &mut count, &mark)?;
    let Count { replies, errors, .. } = count;
    session.screen.print(format!("errors: {errors}, replies: {replies}\n"))?;
    if errors > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// Text that stands in nobody's data: the moment and the process.
fn mark() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("tandem-{:x}-{:x}", std::process::id(), now.as_nanos())
}

fn send(session: &mut Session<'_>, mut bytes: &[u8], count: &mut Count, mark: &str) -> Result<(), Failure> {
    while !bytes.is_empty() {
        if let Some(sent) = session.link()?.exchange(bytes, None)? {
            bytes = &bytes[sent..];
            count.sent_bytes += sent as u64;
        }
        take(session, count, mark)?;
        let Count { sent_bytes, replies, progress, .. } = count;
        progress.tell(session.screen, || format!("{sent_bytes} bytes sent, {replies} replies so far"));
    }
    Ok(())
}

/// Waits for the last reply, or until none has come for as long as is waited.
fn finish(session: &mut Session<'_>, count: &mut Count, mark: &str) -> Result<(), Failure> {
    let patience = u64::try_from(session.options.pipe_patience).ok().filter(|seconds| *seconds > 0);
    let patience = patience.map(Duration::from_secs);
    while !count.is_over {
        match session.link()?.exchange(&[], patience) {
            Ok(Some(_)) => {
                take(session, count, mark)?;
                let Count { replies, progress, .. } = count;
                progress.tell(session.screen, || format!("{replies} replies so far"));
            }
            Ok(None) => {
                count.progress.end(session.screen);
                let seconds = session.options.pipe_patience;
                session.screen.tell(format!("No replies for {seconds} seconds: exiting."));
                return Err(Failure::Told);
            }
            // It has said why.
            Err(LinkError::Closed) if count.errors > 0 => return Err(Failure::Told),
            Err(error) => return Err(error.into()),
        }
    }
    count.progress.end(session.screen);
    session.screen.print("Last reply received from server.\n")?;
    Ok(())
}

/// Counts what has come.
fn take(session: &mut Session<'_>, count: &mut Count, mark: &str) -> Result<(), Failure> {
    while let Some(value) = session.link().map(Link::parsed)?? {
        match value {
            Value::Push(_) => {}
            Value::Text(text) if text == mark.as_bytes() => count.is_over = true,
            Value::Error(text) => {
                count.progress.end(session.screen);
                session.screen.tell(text);
                (count.replies, count.errors) = (count.replies + 1, count.errors + 1);
            }
            _ => count.replies += 1,
        }
    }
    Ok(())
}
