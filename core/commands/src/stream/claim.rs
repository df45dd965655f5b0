//! XCLAIM and XAUTOCLAIM: taking over what others hold and do not finish.

use super::group::no_key_or_group;
use super::read_groups::{propagate_pending, propagate_position};
use super::{CREATE_CONSUMER, reply_entry, start_id, strict_id};
use crate::call::{Args, Call, Handled};
use crate::error::Error;
use keyspace::Offer;
use types::stream::{AutoClaimed, Claim, Claimed, Group, Id, Stream};

/// A claim as asked for.
struct ClaimRequest {
    claim: Claim,
    ids: Vec<Id>,
    last_id: Option<Id>,
}

fn number(args: Args<'_>, i: usize, option: &str, command: &str) -> Result<i64, Error> {
    let invalid = || Error::text(format!("ERR Invalid {option} argument for {command}"));
    base::number::parse_i64(args.at(i)).ok_or_else(invalid)
}

fn claim_request(args: Args<'_>, now_ms: i64) -> Result<ClaimRequest, Error> {
    let idle_ms_min = number(args, 4, "min-idle-time", "XCLAIM")?.max(0);
    let ids: Vec<Id> = args.rest(5).iter().map_while(|text| Id::parse(text, 0)).collect();
    let mut claim =
        Claim { idle_ms_min, delivery_ms: now_ms, deliveries: None, force: false, just_id: false };
    let mut last_id = None;
    let mut i = 5 + ids.len();
    while i < args.len() {
        let more = i + 1 < args.len();
        match () {
            () if args.is(i, "force") => claim.force = true,
            () if args.is(i, "justid") => claim.just_id = true,
            () if more && args.is(i, "idle") => {
                claim.delivery_ms = now_ms.saturating_sub(number(args, i + 1, "IDLE option", "XCLAIM")?);
                i += 1;
            }
            () if more && args.is(i, "time") => {
                claim.delivery_ms = number(args, i + 1, "TIME option", "XCLAIM")?;
                i += 1;
            }
            () if more && args.is(i, "retrycount") => {
                let count = number(args, i + 1, "RETRYCOUNT option", "XCLAIM")?;
                claim.deliveries = u64::try_from(count).ok();
                i += 1;
            }
            () if more && args.is(i, "lastid") => {
                last_id = Some(strict_id(args.at(i + 1), 0)?);
                i += 1;
            }
            () => {
                return Err(Error::quoting("ERR Unrecognized XCLAIM option '{}'", &[args.at(i)]));
            }
        }
        i += 1;
    }
    if claim.delivery_ms < 0 || claim.delivery_ms > now_ms {
        claim.delivery_ms = now_ms;
    }
    Ok(ClaimRequest { claim, ids, last_id })
}

fn check_group(call: &mut Call<'_>) -> Result<(), Error> {
    let args = call.args;
    let stream = call.db.find::<Stream>(args.at(1))?;
    let group = stream.and_then(|stream| stream.group(args.at(2)));
    group.map(|_| ()).ok_or_else(|| no_key_or_group(args))
}

pub(super) fn xclaim(call: &mut Call<'_>) -> Handled {
    check_group(call)?;
    let (args, now_ms) = (call.args, call.db.now_ms());
    let request = claim_request(args, now_ms)?;
    let (key, name, consumer) = (args.at(1), args.at(2), args.at(3));
    let Some(mut guard) = call.db.find_mut::<Stream>(key)? else { return Err(no_key_or_group(args)) };
    guard.keep_contents();
    guard.offer_only(Offer::Pending);
    let stream = &mut *guard;
    let Some(group) = stream.group_mut(name) else { return Err(no_key_or_group(args)) };
    let moved = request.last_id.is_some_and(|last| last > group.last_delivered());
    if let (true, Some(last)) = (moved, request.last_id) {
        group.set_position(last, group.entries_read());
    }
    let created = group.see_consumer(consumer, now_ms);
    let (mut claimed, mut gone) = (Vec::new(), Vec::new());
    for id in request.ids {
        match stream.claim(name, consumer, id, &request.claim, now_ms) {
            Claimed::Yes => claimed.push(id),
            Claimed::Gone => gone.push(id),
            Claimed::No => {}
        }
    }
    reply_claimed(&mut call.reply, stream, &claimed, request.claim.just_id);
    if !moved && !created && claimed.is_empty() && gone.is_empty() {
        guard.leave_unchanged();
        return Ok(crate::Outcome::Done(None));
    }
    guard.count(usize::from(moved) + usize::from(created) + claimed.len() + gone.len());
    drop(guard);
    if moved {
        propagate_position(call, key, name);
    }
    propagate_claims(call, consumer, created, claimed.iter().chain(&gone))
}

/// Tells the log what became of each entry; and of the consumer, when that is all.
fn propagate_claims<'i>(
    call: &mut Call<'_>,
    consumer: &[u8],
    created: bool,
    ids: impl Iterator<Item = &'i Id>,
) -> Handled {
    let (key, name) = (call.args.at(1), call.args.at(2));
    if created {
        call.db.also(key, CREATE_CONSUMER);
        call.propagate(&[b"XGROUP", b"CREATECONSUMER", key, name, consumer]);
    }
    for id in ids {
        propagate_pending(call, key, name, *id);
    }
    Ok(crate::Outcome::Done(None))
}

fn reply_claimed(reply: &mut resp::Reply<'_>, stream: &Stream, claimed: &[Id], just_id: bool) {
    reply.array(claimed.len());
    for id in claimed {
        match stream.entry(*id) {
            Some(entry) if !just_id => reply_entry(reply, &entry),
            _ => reply.bulk(&id.text()),
        }
    }
}

/// Most entries of one XAUTOCLAIM, elements: above it the product with the attempts could overflow, as in Redis.
const COUNT_MAX: i64 = i64::MAX / 16;

fn auto_claim_request(args: Args<'_>, now_ms: i64) -> Result<(Claim, Id, usize), Error> {
    let idle_ms_min = number(args, 4, "min-idle-time", "XAUTOCLAIM")?.max(0);
    let start = start_id(args.at(5))?;
    let mut count = 100;
    let mut just_id = false;
    let mut i = 6;
    while i < args.len() {
        if args.is(i, "count") && i + 1 < args.len() {
            let given = base::number::parse_i64(args.at(i + 1)).filter(|n| (1..=COUNT_MAX).contains(n));
            count = given.ok_or(Error::new("ERR COUNT must be > 0"))? as usize;
            i += 1;
        } else if args.is(i, "justid") {
            just_id = true;
        } else {
            return Err(Error::SYNTAX);
        }
        i += 1;
    }
    let claim = Claim { idle_ms_min, delivery_ms: now_ms, deliveries: None, force: false, just_id };
    Ok((claim, start, count))
}

pub(super) fn xautoclaim(call: &mut Call<'_>) -> Handled {
    let (args, now_ms) = (call.args, call.db.now_ms());
    // Looked up first and judged last, as in Redis: a key whose time is over goes even when the options are wrong.
    let group = check_group(call);
    let (claim, start, count) = auto_claim_request(args, now_ms)?;
    group?;
    let (key, name, consumer) = (args.at(1), args.at(2), args.at(3));
    let Some(mut guard) = call.db.find_mut::<Stream>(key)? else { return Err(no_key_or_group(args)) };
    guard.keep_contents();
    guard.offer_only(Offer::Pending);
    let stream = &mut *guard;
    let created =
        stream.group_mut(name).is_some_and(|group: &mut Group| group.see_consumer(consumer, now_ms));
    let AutoClaimed { next, claimed, gone } = stream.auto_claim(name, consumer, start, count, &claim, now_ms);
    call.reply.array(3);
    call.reply.bulk(&next.text());
    reply_claimed(&mut call.reply, stream, &claimed, claim.just_id);
    call.reply.array(gone.len());
    gone.iter().for_each(|id| call.reply.bulk(&id.text()));
    if !created && claimed.is_empty() && gone.is_empty() {
        guard.leave_unchanged();
        return Ok(crate::Outcome::Done(None));
    }
    guard.count(usize::from(created) + claimed.len() + gone.len());
    drop(guard);
    propagate_claims(call, consumer, created, claimed.iter().chain(&gone))
}
