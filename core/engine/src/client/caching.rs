//! CLIENT TRACKING and its relatives: how a client asks to be told of changed keys. What it is told is in `tracking`.

use super::on_off;
use crate::engine::{Engine, Step, Turn};
use crate::session::{NAME_BYTES, Session, Tracking};
use commands::{Args, Error};

pub(super) fn tracking(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let mut wanted = options(engine, turn.args)?;
    if !on_off(turn.args, 2)? {
        engine.stop_tracking(turn.session);
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    let session = engine.sessions.at_mut(turn.session);
    check(session, &wanted)?;
    if let Some(before) = session.tracking.take() {
        let fresh = core::mem::replace(&mut wanted.prefixes, before.prefixes);
        wanted.prefixes.extend(fresh);
        engine.forget_tracking(turn.session, before.broadcast);
    }
    if wanted.broadcast && wanted.prefixes.is_empty() {
        wanted.prefixes.push(Vec::new());
    }
    wanted.prefix_bytes = wanted.prefixes.iter().map(|p| p.len() + NAME_BYTES).sum();
    let broadcast = wanted.broadcast;
    engine.sessions.at_mut(turn.session).tracking = Some(Box::new(wanted));
    engine.start_tracking(turn.session, broadcast);
    turn.reply.ok();
    Ok(Step::Done(None))
}

fn options(engine: &Engine, args: Args<'_>) -> Result<Tracking, Error> {
    let mut t = Tracking::default();
    let mut i = 3;
    while i < args.len() {
        let more = i + 1 < args.len();
        match () {
            () if args.is(i, "redirect") && more => {
                if t.redirect.is_some() {
                    return Err(Error::new("ERR A client can only redirect to a single other client"));
                }
                let client = args.int(i + 1)? as u64;
                let none = Error::new("ERR The client ID you want redirect to does not exist");
                engine.sessions.by_client_id(client).ok_or(none)?;
                t.redirect = Some(client);
                i += 1;
            }
            () if args.is(i, "prefix") && more => {
                t.prefixes.push(args.at(i + 1).to_vec());
                i += 1;
            }
            () if args.is(i, "bcast") => t.broadcast = true,
            () if args.is(i, "optin") => t.opt_in = true,
            () if args.is(i, "optout") => t.opt_out = true,
            () if args.is(i, "noloop") => t.no_loop = true,
            () => return Err(Error::SYNTAX),
        }
        i += 1;
    }
    Ok(t)
}

/// Whether the options fit each other and what the client has switched on already.
fn check(session: &Session, wanted: &Tracking) -> Result<(), Error> {
    let before = session.tracking.as_deref();
    if !wanted.broadcast && !wanted.prefixes.is_empty() {
        return Err(Error::new("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    if before.is_some_and(|t| t.broadcast != wanted.broadcast) {
        return Err(Error::new(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    if wanted.broadcast && (wanted.opt_in || wanted.opt_out) {
        return Err(Error::new("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if wanted.opt_in && wanted.opt_out {
        return Err(Error::new("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    if before.is_some_and(|t| (wanted.opt_in && t.opt_out) || (wanted.opt_out && t.opt_in)) {
        return Err(Error::new(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        ));
    }
    match before {
        Some(t) if wanted.broadcast => check_prefixes(&wanted.prefixes, &t.prefixes),
        _ => check_prefixes(&wanted.prefixes, &[]),
    }
}

/// Two prefixes of one client must not fit the same key: it would be told twice.
fn check_prefixes(fresh: &[Vec<u8>], known: &[Vec<u8>]) -> Result<(), Error> {
    let overlap = |a: &Vec<u8>, b: &Vec<u8>| a.starts_with(b) || b.starts_with(a);
    for (i, prefix) in fresh.iter().enumerate() {
        let with_known = known.iter().find(|k| overlap(prefix, k)).map(|k| ("an existing", k));
        let with_fresh =
            || fresh[i + 1..].iter().find(|f| overlap(prefix, f)).map(|f| ("another provided", f));
        if let Some((which, other)) = with_known.or_else(with_fresh) {
            let template = "ERR Prefix '{}' overlaps with {} prefix '{}'. Prefixes for a single client must not overlap.";
            return Err(Error::quoting(template, &[prefix, which.as_bytes(), other]));
        }
    }
    Ok(())
}

pub(super) fn caching(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let Some(t) = &mut engine.sessions.at_mut(turn.session).tracking else {
        return Err(Error::new(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let yes = match () {
        () if turn.args.is(2, "yes") => true,
        () if turn.args.is(2, "no") => false,
        () => return Err(Error::SYNTAX),
    };
    if yes && !t.opt_in {
        return Err(Error::new(
            "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        ));
    }
    if !yes && !t.opt_out {
        return Err(Error::new(
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ));
    }
    t.caching = Some(yes);
    turn.reply.ok();
    Ok(Step::Done(None))
}

pub(super) fn getredir(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let value =
        engine.sessions.at(turn.session).tracking.as_ref().map_or(-1, |t| t.redirect.map_or(0, |r| r as i64));
    turn.reply.integer(value);
    Ok(Step::Done(None))
}

pub(super) fn trackinginfo(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let tracking = engine.sessions.at(turn.session).tracking.as_deref();
    let mut flags: Vec<&str> = vec![if tracking.is_some() { "on" } else { "off" }];
    let (mut redirect, mut prefixes) = (-1, &[][..]);
    if let Some(t) = tracking {
        let options = [
            (t.broadcast, "bcast"),
            (t.opt_in, "optin"),
            (t.opt_in && t.caching == Some(true), "caching-yes"),
            (t.opt_out, "optout"),
            (t.opt_out && t.caching == Some(false), "caching-no"),
            (t.no_loop, "noloop"),
            (t.redirect_broken, "broken_redirect"),
        ];
        flags.extend(options.iter().filter(|(on, _)| *on).map(|(_, name)| *name));
        redirect = t.redirect.map_or(0, |r| r as i64);
        prefixes = &t.prefixes;
    }
    turn.reply.map(3);
    turn.reply.bulk(b"flags");
    turn.reply.set(flags.len());
    flags.iter().for_each(|f| turn.reply.bulk(f.as_bytes()));
    turn.reply.bulk(b"redirect");
    turn.reply.integer(redirect);
    turn.reply.bulk(b"prefixes");
    turn.reply.bulks(prefixes);
    Ok(Step::Done(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_fit_the_same_key_are_refused() {
        let all = |words: &[&str]| -> Vec<Vec<u8>> { words.iter().map(|w| w.as_bytes().to_vec()).collect() };
        assert!(check_prefixes(&all(&["a", "b"]), &all(&["c"])).is_ok());
        let error = check_prefixes(&all(&["ab"]), &all(&["a"])).unwrap_err();
        assert!(error.shown().starts_with("ERR Prefix 'ab' overlaps with an existing prefix 'a'."));
        let error = check_prefixes(&all(&["a", "ab"]), &[]).unwrap_err();
        assert!(error.shown().starts_with("ERR Prefix 'a' overlaps with another provided prefix 'ab'."));
        assert!(check_prefixes(&all(&["x"]), &all(&[""])).is_err(), "the empty prefix fits all");
    }
}
