//! CLIENT TRACKING and its relatives: how a client asks to be told of changed keys. What it is told is in `tracking`.

use super::on_off;
use crate::call::{Step, Turn};
use crate::engine::Engine;
use crate::session::{Session, Tracking};
use commands::{Args, Error};
use std::collections::BTreeSet;
use std::ops::Bound;

pub(super) fn tracking(engine: &mut Engine, turn: &mut Turn<'_>) -> Result<Step, Error> {
    let (wanted, mut prefixes) = options(engine, turn.args)?;
    if !on_off(turn.args, 2)? {
        engine.stop_tracking(turn.session);
        turn.reply.ok();
        return Ok(Step::Done(None));
    }
    check(engine.sessions.at(turn.session), &wanted, &prefixes)?;
    if wanted.broadcast && prefixes.is_empty() {
        // All keys; also for a client that has asked for some before, as in Redis.
        prefixes.push(b"");
    }
    let prefixes = prefixes.into_iter().map(<[u8]>::to_vec).collect();
    engine.start_tracking(turn.session, wanted, prefixes);
    turn.reply.ok();
    Ok(Step::Done(None))
}

/// What is asked for, and the prefixes.
fn options<'a>(engine: &Engine, args: Args<'a>) -> Result<(Tracking, Vec<&'a [u8]>), Error> {
    let (mut t, mut prefixes) = (Tracking::default(), Vec::new());
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
                prefixes.push(args.at(i + 1));
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
    Ok((t, prefixes))
}

/// Whether the options fit each other and what the client has switched on already.
fn check(session: &Session, wanted: &Tracking, prefixes: &[&[u8]]) -> Result<(), Error> {
    let before = session.tracking.as_deref();
    if !wanted.broadcast && !prefixes.is_empty() {
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
    check_prefixes(prefixes, before.map_or(&BTreeSet::new(), |t| &t.prefixes))
}

/// Two prefixes of one client must not fit the same key: it would be told twice.
fn check_prefixes(fresh: &[&[u8]], known: &BTreeSet<Vec<u8>>) -> Result<(), Error> {
    let pair = first_overlap(fresh);
    for (i, prefix) in fresh.iter().enumerate() {
        let with_known = overlapping(known, prefix).map(|other| ("an existing", other));
        let with_fresh = pair.filter(|(first, _)| *first == i).map(|(_, j)| ("another provided", fresh[j]));
        if let Some((which, other)) = with_known.or(with_fresh) {
            let template = "ERR Prefix '{}' overlaps with {} prefix '{}'. Prefixes for a single client must not overlap.";
            return Err(Error::quoting(template, &[prefix, which.as_bytes(), other]));
        }
    }
    Ok(())
}

/// The first known prefix that overlaps with this one. Known ones do not overlap each other, but for the empty one.
fn overlapping<'a>(known: &'a BTreeSet<Vec<u8>>, prefix: &[u8]) -> Option<&'a [u8]> {
    let up_to = (Bound::Unbounded, Bound::Included(prefix));
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let empty = known.first().filter(|first| first.is_empty());
    let shorter = || known.range::<[u8], _>(up_to).next_back().filter(|other| prefix.starts_with(other));
    let longer = || known.range::<[u8], _>(from).next().filter(|other| other.starts_with(prefix));
    empty.or_else(shorter).or_else(longer).map(Vec::as_slice)
}

/// The first prefix that overlaps with one behind it, and that one. In the order of their bytes a prefix stands before all that begin
/// with it, so those that are still open when another comes are exactly the ones it begins with.
fn first_overlap(prefixes: &[&[u8]]) -> Option<(usize, usize)> {
    let mut order: Vec<usize> = (0..prefixes.len()).collect();
    order.sort_by_key(|at| prefixes[*at]);
    let (mut open, mut first) = (Vec::<usize>::new(), None::<usize>);
    for at in order {
        while open.last().is_some_and(|other| !prefixes[at].starts_with(prefixes[*other])) {
            open.pop();
        }
        if let Some(other) = open.last() {
            let lower = at.min(*other);
            first = Some(first.map_or(lower, |known| known.min(lower)));
        }
        open.push(at);
    }
    let first = first?;
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let second = (first + 1..prefixes.len()).find(|at| overlap(prefixes[first], prefixes[*at]))?;
    Some((first, second))
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
    let (mut redirect, mut prefixes) = (-1, Vec::new());
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
        prefixes = t.prefixes.iter().collect();
    }
    turn.reply.map(3);
    turn.reply.bulk(b"flags");
    turn.reply.set(flags.len());
    flags.iter().for_each(|f| turn.reply.bulk(f.as_bytes()));
    turn.reply.bulk(b"redirect");
    turn.reply.integer(redirect);
    turn.reply.bulk(b"prefixes");
    turn.reply.bulks(&prefixes);
    Ok(Step::Done(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(fresh: &[&str], known: &[&str]) -> String {
        let fresh: Vec<&[u8]> = fresh.iter().map(|word| word.as_bytes()).collect();
        let known = known.iter().map(|word| word.as_bytes().to_vec()).collect();
        let error = check_prefixes(&fresh, &known).err();
        error.map_or(String::new(), |e| e.shown().split(". ").next().unwrap_or_default().to_owned())
    }

    #[test]
    fn prefixes_that_fit_the_same_key_are_refused() {
        assert_eq!(verdict(&["a", "b"], &["c"]), "");
        assert_eq!(verdict(&["ab"], &["a"]), "ERR Prefix 'ab' overlaps with an existing prefix 'a'");
        assert_eq!(verdict(&["a"], &["ac", "ab"]), "ERR Prefix 'a' overlaps with an existing prefix 'ab'");
        assert_eq!(verdict(&["a", "ab"], &[]), "ERR Prefix 'a' overlaps with another provided prefix 'ab'");
        assert_eq!(verdict(&["x", "x"], &[]), "ERR Prefix 'x' overlaps with another provided prefix 'x'");
        assert_eq!(verdict(&["x"], &["", "a"]), "ERR Prefix 'x' overlaps with an existing prefix ''");
        let first = "ERR Prefix 'z' overlaps with another provided prefix 'zz'";
        assert_eq!(verdict(&["z", "y", "zz", "yy"], &[]), first);
        let behind = "ERR Prefix 'q' overlaps with another provided prefix 'qq'";
        assert_eq!(verdict(&["q", "aa", "qq", "q1"], &["aaa"]), behind);
    }

    #[test]
    fn a_hundred_thousand_prefixes_are_checked_at_once() {
        let mut words: Vec<String> = (0..100_000).map(|i| format!("{i:06}")).collect();
        words.push("099999x".to_owned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let error = "ERR Prefix '099999' overlaps with another provided prefix '099999x'";
        assert_eq!(verdict(&words, &[]), error);
    }
}
