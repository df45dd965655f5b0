//! The import by replication: the new server follows the old one until it is to take over.
//!
//! What is set at the new one for that (who logs in at the old one) is put back when it has taken over, or when nothing comes of the link,
//! by the run that has set it. While it follows, this program only watches: it may end at any time, and be started again. A later run
//! does not know what was set before, and no guess is as good as to leave it and to say so.
//!
//! The cutover loses nothing: writes stand still at the old one first, then the new one is waited for, and only then it is told to
//! follow nobody. Writes go on at the old one when that was not to be, and where it does not let them stand still, or is a replica whose
//! master's go on, there is no cutover unless that is accepted in so many words.

use std::time::{Duration, Instant};

use super::peer::Peer;
use super::{Import, Listener, Told};
use crate::failure::Failure;
use crate::value::Value;

/// How often the two are looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// How often it is told how it goes.
const TELL_PERIOD: Duration = Duration::from_secs(1);

/// What is set at the new one, and put back.
const SETTINGS: [&str; 3] = ["masteruser", "masterauth", "tls-replication"];

/// What is said when it is not put back, since an earlier run has set it.
const LEFT_SET: &str = "masteruser, masterauth and tls-replication are still set for the old server: an earlier run did that, and this one does not know what they were before. \
     Set them as they are to be: CONFIG SET masteruser USER masterauth PASSWORD tls-replication yes|no ('' for no user or password). A restart sets them as the configuration says.";

/// How the new one does.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// There is no link, and why if it is known.
    Apart(Option<String>),
    /// The whole data set comes.
    Copying(u64, Option<u64>),
    /// The stream comes; it is applied up to here.
    Following(u64),
}

/// What was set before.
struct Before(Vec<(&'static str, Vec<u8>)>);

/// Has the new one follow the old one, and watches until that is what was asked for.
pub(super) fn until_done(
    order: &Import,
    from: &mut Peer,
    into: &mut Peer,
    listener: Listener<'_>,
) -> Result<(), Failure> {
    let before = begin(order, from, into, listener)?;
    if let Some(why) = until_linked(order, into, listener)? {
        return give_up(into, before, &why);
    }
    until_in_step(order, from, into, listener)?;
    if !order.cutover {
        listener(Told::Note(
            "It goes on following; the same command with --cutover has it take over.".to_owned(),
        ));
        return Ok(());
    }
    take_over(order, from, into, listener)?;
    match before {
        Some(before) => put_back(into, before)?,
        None => listener(Told::Note(LEFT_SET.to_owned())),
    }
    listener(Told::TakenOver);
    Ok(())
}

/// Ends what this run has begun, since there is no link. What an earlier run has begun goes on: the new one may hold the copy already.
fn give_up(into: &mut Peer, before: Option<Before>, why: &str) -> Result<(), Failure> {
    let Some(before) = before else { return Err(unlinked(why)) };
    // What the new one held is still there: it is given up only for a copy that is whole.
    into.ask(&["REPLICAOF", "NO", "ONE"])?;
    put_back(into, before)?;
    let text =
        format!("Nothing was changed: {why}. Where replication is forbidden, --by-keys copies key by key.");
    Err(Failure::Refused(text.into_bytes()))
}

/// That there is no link, and how the following ends that this does not end.
fn unlinked(why: &str) -> Failure {
    let text = format!(
        "There is no link: {why}. The new one goes on following, and tries again by itself; REPLICAOF NO ONE there ends that."
    );
    Failure::Refused(text.into_bytes())
}

/// Has the new one follow, if it does not yet. What was set before is known if this run has set something else.
fn begin(
    order: &Import,
    from: &mut Peer,
    into: &mut Peer,
    listener: Listener<'_>,
) -> Result<Option<Before>, Failure> {
    let target = from.options.target.clone();
    let (host, port) = (target.host.clone(), target.port.to_string());
    let told = into.info("replication")?;
    let follows = told.field("master_host") == Some(&host) && told.field("master_port") == Some(&port);
    if follows {
        return Ok(None);
    }
    if told.field("master_host").is_some() {
        return Err(Failure::Sentence("Nothing was changed: the new one follows another server."));
    }
    if !order.replace && !into.databases()?.is_empty() {
        return Err(Failure::Sentence(
            "Nothing was changed: there are keys at the new one, which the copy would take the place of; --replace accepts that.",
        ));
    }
    let before = note_settings(into)?;
    set_up(from, into)?;
    if let Err(failure) = into.ask(&["REPLICAOF", &host, &port]) {
        put_back(into, before)?;
        return Err(failure);
    }
    listener(Told::Note(format!(
        "It follows {target}. This may be ended at any time: it goes on following. A cutover by this run puts back what masteruser, masterauth and tls-replication were before; one by a later run leaves them. A CONFIG REWRITE at the new one meanwhile makes it follow again after a restart: do another one after the cutover."
    )));
    Ok(Some(before))
}

/// Sets at the new one who logs in at the old one, and how.
fn set_up(from: &Peer, into: &mut Peer) -> Result<(), Failure> {
    let user = from.options.user.clone().unwrap_or_default();
    let password = from.options.password.clone().unwrap_or_default();
    let encrypted: &[u8] = if from.options.tls.is_on { b"yes" } else { b"no" };
    let [with_user, with_password, with_tls] = SETTINGS.map(str::as_bytes);
    let words: [&[u8]; 8] =
        [b"CONFIG", b"SET", with_user, &user, with_password, &password, with_tls, encrypted];
    into.ask(&words).map(drop)
}

fn note_settings(into: &mut Peer) -> Result<Before, Failure> {
    let mut before = Vec::new();
    for name in SETTINGS {
        let reply = into.ask(&["CONFIG", "GET", name])?;
        let value = reply.pairs().first().and_then(|(_, value)| Some(value.text()?.to_vec()));
        before.push((name, value.ok_or(Failure::Unexpected("CONFIG GET"))?));
    }
    Ok(Before(before))
}

fn put_back(into: &mut Peer, Before(settings): Before) -> Result<(), Failure> {
    let mut words = vec![b"CONFIG".to_vec(), b"SET".to_vec()];
    words.extend(settings.into_iter().flat_map(|(name, value)| [name.as_bytes().to_vec(), value]));
    into.ask(&words).map(drop)
}

fn stage(into: &mut Peer) -> Result<Stage, Failure> {
    let info = into.info("replication")?;
    if info.field("master_sync_in_progress") == Some("1") {
        let total = info.number("master_sync_total_bytes").filter(|total| *total > 0);
        return Ok(Stage::Copying(info.number("master_sync_read_bytes").unwrap_or(0), total));
    }
    Ok(match (info.field("master_link_status"), info.number("slave_repl_offset")) {
        (Some("up"), Some(applied)) => Stage::Following(applied),
        _ => Stage::Apart(info.field("master_link_error").map(str::to_owned)),
    })
}

/// Waits until the data set is there. Otherwise why there is no link.
fn until_linked(order: &Import, into: &mut Peer, listener: Listener<'_>) -> Result<Option<String>, Failure> {
    let (mut apart_since, mut told) = (Instant::now(), Instant::now());
    loop {
        match stage(into)? {
            Stage::Following(_) => return Ok(None),
            Stage::Copying(bytes, total) => {
                apart_since = Instant::now();
                if told.elapsed() >= TELL_PERIOD {
                    told = Instant::now();
                    listener(Told::Copying(bytes, total));
                }
            }
            Stage::Apart(why) if apart_since.elapsed() >= order.patience => {
                return Ok(Some(why.unwrap_or_else(|| "the old one does not answer the new one".to_owned())));
            }
            Stage::Apart(_) => {}
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// The end of the old one's stream.
fn end_of(from: &mut Peer) -> Result<u64, Failure> {
    from.info("replication")?.number("master_repl_offset").ok_or(Failure::Unexpected("INFO"))
}

/// Tells how far the new one is behind: until it is not, if that is enough, and else for ever.
fn until_in_step(
    order: &Import,
    from: &mut Peer,
    into: &mut Peer,
    listener: Listener<'_>,
) -> Result<(), Failure> {
    let mut told: Option<Instant> = None;
    loop {
        let end = end_of(from)?;
        let lag = match stage(into)? {
            Stage::Following(applied) => end.saturating_sub(applied),
            Stage::Copying(..) | Stage::Apart(_) => match until_linked(order, into, listener)? {
                None => continue,
                Some(why) => return Err(unlinked(&why)),
            },
        };
        let is_kept = is_kept(into)?;
        let is_enough = lag == 0 && is_kept && (order.once || order.cutover);
        if is_enough || told.is_none_or(|told| told.elapsed() >= TELL_PERIOD) {
            told = Some(Instant::now());
            listener(Told::Lag(lag));
        }
        // Under writers that never rest there is always something on its way: they are paused for the cutover.
        if is_enough || (order.cutover && is_kept && lag < SMALL_LAG_BYTES) {
            return Ok(());
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

/// Whether a start of the new one would find what was copied: where there is to be a log, it has its first base.
fn is_kept(into: &mut Peer) -> Result<bool, Failure> {
    let reply = into.ask(&["CONFIG", "GET", "appendonly"])?;
    let logs = reply.pairs().first().is_some_and(|(_, value)| value.text() == Some(&b"yes"[..]));
    let info = into.info("persistence")?;
    let is = |field: &str, value: &str| info.field(field) == Some(value);
    let has_base =
        is("aof_enabled", "1") && is("aof_rewrite_in_progress", "0") && is("aof_rewrite_scheduled", "0");
    Ok(!logs || has_base)
}

/// A lag at which writes at the old one are paused: it is gone in a moment.
const SMALL_LAG_BYTES: u64 = 1 << 20;

/// Lets writes stand still at the old one, waits until all is there, and has the new one follow nobody.
fn take_over(
    order: &Import,
    from: &mut Peer,
    into: &mut Peer,
    listener: Listener<'_>,
) -> Result<(), Failure> {
    let is_paused = pause(order, from, listener)?;
    let switched = switch(order, from, into);
    if switched.is_err() && is_paused {
        from.ask(&["CLIENT", "UNPAUSE"])?;
    }
    switched
}

/// Lets writes stand still at the old one. Whether they do, where it is accepted that they do not.
fn pause(order: &Import, from: &mut Peer, listener: Listener<'_>) -> Result<bool, Failure> {
    let Some(why) = stand_still(order, from)? else {
        listener(Told::Paused(order.pause.as_secs()));
        return Ok(true);
    };
    if !order.although_unpaused {
        let text = format!(
            "Not taken over: the old one does not let its writes stand still ({why}), so what is written there meanwhile would be lost. The new one goes on following. \
             Have the writers stand still, and say so with --although-unpaused."
        );
        return Err(Failure::Refused(text.into_bytes()));
    }
    listener(Told::Note(format!(
        "The old one does not let its writes stand still ({why}): what is written there from now on is lost."
    )));
    Ok(false)
}

/// Has writes stand still at the old one; otherwise why they do not.
fn stand_still(order: &Import, from: &mut Peer) -> Result<Option<String>, Failure> {
    let info = from.info("replication")?;
    // Whatever is paused at a replica, its master goes on confirming writes.
    if let (Some(host), Some(port)) = (info.field("master_host"), info.field("master_port")) {
        return Ok(Some(format!("it follows {host}:{port} itself, where they go on")));
    }
    let pause = order.pause.as_millis().to_string();
    Ok(match from.try_ask(&["CLIENT", "PAUSE", &pause, "WRITE"])? {
        Value::Error(text) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => None,
    })
}

fn switch(order: &Import, from: &mut Peer, into: &mut Peer) -> Result<(), Failure> {
    let (end, began) = (end_of(from)?, Instant::now());
    loop {
        if matches!(stage(into)?, Stage::Following(applied) if applied >= end) {
            return into.ask(&["REPLICAOF", "NO", "ONE"]).map(drop);
        }
        if began.elapsed() >= order.pause / 2 {
            return Err(Failure::Sentence(
                "Not taken over: the new one has not caught up while writes stood still. It goes on following, and the old one is written to again.",
            ));
        }
        std::thread::sleep(LOOK_PERIOD / 10);
    }
}
