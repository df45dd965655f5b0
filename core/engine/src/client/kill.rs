//! CLIENT KILL: which clients are meant, and their end.

use super::line::Kind;
use crate::engine::{Engine, Step, Turn};
use crate::session::{Session, SessionId};
use commands::{Args, Error};

/// The filters of CLIENT KILL; a client must fit all.
#[derive(Debug, Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<Kind>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    user: Option<usize>,
    skip_me: bool,
    age_s_min: Option<u64>,
}

impl<'a> Filter<'a> {
    fn parse(engine: &Engine, args: Args<'a>) -> Result<Filter<'a>, Error> {
        let mut filter = Filter { skip_me: true, ..Filter::default() };
        for (i, pair) in args.rest(2).chunks(2).enumerate() {
            let [_, value] = pair else { return Err(Error::SYNTAX) };
            let at = 2 + 2 * i;
            let number = || base::number::parse_i64(value);
            match () {
                () if args.is(at, "id") => {
                    let none = Error::new("ERR client-id should be greater than 0");
                    filter.id = Some(number().filter(|n| *n > 0).ok_or(none)? as u64);
                }
                () if args.is(at, "type") => filter.kind = Some(Kind::parse(value)?),
                () if args.is(at, "addr") => filter.address = Some(value),
                () if args.is(at, "laddr") => filter.local_address = Some(value),
                () if args.is(at, "user") => {
                    let none = || Error::quoting("ERR No such user '{}'", &[value]);
                    filter.user = Some(engine.acl.find(value).ok_or_else(none)?);
                }
                () if args.is(at, "maxage") => {
                    let age = number().ok_or(Error::new("ERR maxage is not an integer or out of range"))?;
                    let none = Error::new("ERR maxage should be greater than 0");
                    filter.age_s_min = Some(u64::try_from(age).ok().filter(|a| *a > 0).ok_or(none)?);
                }
                () if args.is(at, "skipme") && value.eq_ignore_ascii_case(b"yes") => filter.skip_me = true,
                () if args.is(at, "skipme") && value.eq_ignore_ascii_case(b"no") => filter.skip_me = false,
                () => return Err(Error::SYNTAX),
            }
        }
        Ok(filter)
    }

    fn fits(&self, s: &Session, now_us: u64) -> bool {
        self.id.is_none_or(|want| s.id == want)
            && self.address.is_none_or(|a| s.info.address.as_bytes() == a)
            && self.local_address.is_none_or(|a| s.info.local_address.as_bytes() == a)
            && self.user.is_none_or(|u| s.user == u && s.authenticated)
            && self.age_s_min.is_none_or(|age| now_us.saturating_sub(s.created_us) / 1_000_000 >= age)
            && self.kind.is_none_or(|kind| Kind::of(s) == kind)
    }
}

pub(super) fn kill(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let by_address = turn.args.len() == 3;
    let filter = if by_address {
        Filter { address: Some(turn.args.at(2)), ..Filter::default() }
    } else {
        Filter::parse(engine, turn.args)?
    };
    let now_us = engine.keyspace.now.mono_us;
    let victims: Vec<SessionId> = (engine.sessions.iter())
        .filter(|(id, s)| !s.kill && filter.fits(s, now_us) && !(filter.skip_me && *id == turn.session))
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
