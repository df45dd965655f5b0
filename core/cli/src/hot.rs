//! `--hotkeys`: which keys are used most, where the server counts it.

use crate::biggest::{keys_in_database, percentage};
use crate::failure::Failure;
use crate::form::quoted;
use crate::scan::{Walk, remark};
use crate::session::Session;
use crate::value::Value;

/// So many are told of in the end.
const KEYS_MAX: usize = 16;

/// After so many keys it is told how far the walk is.
const KEYS_TOLD: u64 = 1_000_000;

/// Walks and tells.
pub(crate) fn keys(session: &mut Session<'_>) -> Result<(), Failure> {
    session.connect_as_asked()?;
    let all = keys_in_database(session)?;
    session.screen.print(remark("hot"))?;
    // From the hottest on.
    let mut hottest: Vec<(i64, Vec<u8>)> = Vec::new();
    let (mut sampled, mut steps, mut walk) = (0_u64, 0_u64, Walk::new());
    while let Some(names) = walk.next(session)? {
        let percent = percentage(sampled, all);
        let uses = uses(session, &names)?;
        for (name, used) in names.into_iter().zip(uses) {
            sampled += 1;
            if sampled.is_multiple_of(KEYS_TOLD) {
                session.screen.print(format!("[{percent:05.2}%] Sampled {sampled} keys so far\n"))?;
            }
            let place = hottest.partition_point(|(counter, _)| *counter >= used);
            if used > 0 && place < KEYS_MAX {
                let name = quoted(&name);
                let shown = String::from_utf8_lossy(&name);
                let line = format!("[{percent:05.2}%] Hot key '{shown}' found so far with counter {used}\n");
                session.screen.print(line)?;
                hottest.insert(place, (used, name));
                hottest.truncate(KEYS_MAX);
            }
        }
        session.screen.flush()?;
        steps += 1;
        if steps.is_multiple_of(100) {
            session.pause();
        }
    }
    let head = format!("\n-------- summary -------\n\nSampled {sampled} keys in the keyspace!\n");
    session.screen.print(head)?;
    for (counter, name) in hottest {
        let name = String::from_utf8_lossy(&name);
        session.screen.print(format!("hot key found with counter: {counter}\tkeyname: {name}\n"))?;
    }
    Ok(())
}

/// For each key how much it is used; 0 for one that has gone.
fn uses(session: &mut Session<'_>, names: &[Vec<u8>]) -> Result<Vec<i64>, Failure> {
    let question = |name: &Vec<u8>| vec![b"OBJECT".to_vec(), b"FREQ".to_vec(), name.clone()];
    let questions: Vec<_> = names.iter().map(question).collect();
    let mut uses = Vec::with_capacity(names.len());
    for answer in session.ask_all(&questions)? {
        uses.push(match answer {
            Value::Integer(used) => used,
            Value::Error(text) if !text.starts_with(b"ERR no such key") => {
                return Err(Failure::Refusal("Error", text));
            }
            _ => 0,
        });
    }
    Ok(uses)
}
