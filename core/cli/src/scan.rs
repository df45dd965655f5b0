//! `--scan`: every key's name, a line each.

use crate::failure::Failure;
use crate::form::{Form, quoted};
use crate::session::Session;
use crate::value::Value;

/// A walk over the keys in steps.
pub(crate) struct Walk {
    cursor: Vec<u8>,
    is_over: bool,
}

impl Walk {
    pub(crate) fn new() -> Walk {
        Walk { cursor: b"0".to_vec(), is_over: false }
    }

    /// The names of the next step; none behind the last.
    pub(crate) fn next(&mut self, session: &mut Session<'_>) -> Result<Option<Vec<Vec<u8>>>, Failure> {
        if self.is_over {
            return Ok(None);
        }
        let mut words = vec![b"SCAN".to_vec(), self.cursor.clone()];
        if let Some(pattern) = &session.options.pattern {
            words.extend([b"MATCH".to_vec(), pattern.clone()]);
        }
        if let Some(count) = session.options.count {
            words.extend([b"COUNT".to_vec(), count.to_string().into_bytes()]);
        }
        let reply = session.ask(&words)?;
        if let Value::Error(text) = reply {
            return Err(Failure::Refusal("SCAN error", text));
        }
        let (cursor, keys) = match reply.elements() {
            Some([cursor, keys]) => (cursor.text(), keys.elements()),
            _ => (None, None),
        };
        let (Some(cursor), Some(keys)) = (cursor, keys) else { return Err(Failure::Unexpected("SCAN")) };
        self.cursor = cursor.to_vec();
        self.is_over = self.cursor == b"0";
        Ok(Some(keys.iter().filter_map(Value::text).map(<[u8]>::to_vec).collect()))
    }
}

/// Prints all names.
pub(crate) fn keys(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect_as_asked()?;
    let mut walk = Walk::new();
    while let Some(names) = walk.next(session)? {
        for name in names {
            let shown = if session.style.form == Form::Standard { quoted(&name) } else { name };
            session.screen.print([shown.as_slice(), b"\n"].concat())?;
        }
        session.screen.flush()?;
        session.pause();
    }
    Ok(())
}

/// What stands above a walk that looks for the `what` keys.
pub(crate) fn remark(what: &str) -> String {
    format!(
        "\n# Scanning the entire keyspace to find {what} keys as well as\n# average sizes per key type.  You can use -i 0.1 to sleep \
         0.1 sec\n# per 100 SCAN commands (not usually needed).\n\n"
    )
}
