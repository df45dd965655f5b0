//! CLIENT KILL: the end of the clients that are meant.

use super::filter::Filter;
use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::session::SessionId;
use commands::Error;

pub(super) fn kill(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let by_address = turn.args.len() == 3;
    let filter = match by_address {
        true => Filter::of_address(turn.args.at(2)),
        false => Filter::parse(engine, turn.args, true, BAD_ID)?,
    };
    if filter.ids().is_some_and(|ids| ids.contains(&0)) {
        return Err(Error::new(BAD_ID));
    }
    let now_us = engine.keyspace.now.mono_us;
    let victims: Vec<SessionId> = (engine.sessions.iter())
        .filter(|(id, s)| !s.kill && s.is_connected() && filter.fits((*id, s), turn.session, now_us))
        .map(|(id, _)| id)
        .collect();
    let count = victims.len();
    if by_address && count == 0 {
        return Err(Error::new("ERR No such client"));
    }
    victims.into_iter().for_each(|id| engine.kill(id, turn.session));
    if by_address {
        turn.reply.ok()
    } else {
        turn.reply.count(count)
    }
    Ok(Step::Done(None))
}

const BAD_ID: &str = "ERR client-id should be greater than 0";
