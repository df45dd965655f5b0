//! DEBUG on the data set as a whole: digests, reloading, filling it up.

use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::outside::{Job, Reload};
use commands::Error;
use keyspace::Db;
use types::Entry;

pub(super) fn digest(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    turn.reply.status(&base::hex::encode(&engine.keyspace.digest().0));
    Ok(Step::Done(None))
}

pub(super) fn digest_value(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let db = engine.sessions.at(turn.session).db;
    let keys = turn.args.rest(2);
    turn.reply.array(keys.len());
    for key in keys {
        let digest = keyspace::digest_value(Db::new(&mut engine.keyspace, db).peek(key));
        turn.reply.status(&base::hex::encode(&digest.0));
    }
    Ok(Step::Done(None))
}

pub(super) fn reload(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let mut how = Reload { from_log: false, save: true, flush: true, merge: false };
    for word in turn.args.rest(2) {
        match word.to_ascii_lowercase().as_slice() {
            b"merge" => how.merge = true,
            b"noflush" => how.flush = false,
            b"nosave" => how.save = false,
            _ => {
                return Err(Error::new(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    if how.save {
        crate::saving::check_saving(turn.outside)?;
    }
    engine.jobs.push(Job::Reload { session: turn.session, how });
    Ok(Step::Later)
}

pub(super) fn loadaof(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let how = Reload { from_log: true, save: false, flush: true, merge: false };
    engine.jobs.push(Job::Reload { session: turn.session, how });
    Ok(Step::Later)
}

/// Keys that are there already stay as they are. Nothing is logged and nobody is told: the keys are for tests of size and time.
pub(super) fn populate(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let args = turn.args;
    let positive = |i: usize| {
        let value = args.find(i).map_or(Some(0), base::number::parse_i64);
        value.and_then(|value| usize::try_from(value).ok()).ok_or(Error::OUT_OF_RANGE_POSITIVE)
    };
    let (count, size) = (positive(2)?, positive(4)?);
    if size > engine.config.proto_max_bulk_len {
        return Err(Error::TOO_LONG);
    }
    let prefix = args.find(3).unwrap_or(b"key");
    let db = engine.sessions.at(turn.session).db;
    for number in 0..count {
        let mut key = prefix.to_vec();
        key.push(b':');
        base::number::push_u64(&mut key, number as u64);
        let mut value = format!("value:{number}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        let mut entry = Entry::string(&key, &value, None);
        entry.set_access(engine.keyspace.fresh_access());
        // A key that is there stays as it is.
        let _ = engine.keyspace.load(db, entry);
    }
    turn.reply.ok();
    Ok(Step::Done(None))
}
