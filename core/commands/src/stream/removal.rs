//! XDELEX and XACKDEL: deleting entries with regard to the groups that hold them.
//!
//! The log gets the plain deletions and acknowledgements that they came to, which every server understands.

use super::XDEL;
use crate::call::{Args, Call, Handled, Outcome, read};
use crate::error::Error;
use keyspace::Offer;
use smallvec::SmallVec;
use types::stream::{Id, References, Removal, Stream};

/// The options of both commands.
struct Request<'a> {
    references: References,
    ids: &'a [&'a [u8]],
}

/// The word that tells what a removal does about the groups.
pub(super) fn references_word(args: Args<'_>, i: usize) -> Option<References> {
    match () {
        () if args.is(i, "keepref") => Some(References::Keep),
        () if args.is(i, "delref") => Some(References::Drop),
        () if args.is(i, "acked") => Some(References::Acknowledged),
        () => None,
    }
}

impl<'a> Request<'a> {
    /// Reads `[KEEPREF|DELREF|ACKED] IDS count id ...` in any order from argument `first` on.
    fn read(args: Args<'a>, first: usize) -> Result<Request<'a>, Error> {
        let (mut references, mut ids, mut i) = (None, None, first);
        while i < args.len() {
            if references.is_none() && references_word(args, i).is_some() {
                references = references_word(args, i);
                i += 1;
            } else if args.is(i, "ids") && i + 1 < args.len() {
                let count = args.int(i + 1).ok().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
                let count = count.ok_or(Error::new("ERR Number of IDs must be a positive integer"))?;
                let listed = args.rest(i + 2).get(..count);
                let mismatch = "ERR The `numids` parameter must match the number of arguments";
                ids = Some(listed.ok_or(Error::new(mismatch))?);
                i += 2 + count;
            } else {
                return Err(Error::SYNTAX);
            }
        }
        Ok(Request { references: references.unwrap_or_default(), ids: ids.ok_or(Error::SYNTAX)? })
    }

    fn ids(&self) -> Result<SmallVec<[Id; 8]>, Error> {
        super::ids(self.ids)
    }
}

fn reply_code(removal: Removal) -> i64 {
    match removal {
        Removal::Absent => -1,
        Removal::Removed => 1,
        Removal::Needed => 2,
    }
}

fn reply_absent(call: &mut Call<'_>, count: usize) -> Handled {
    call.reply.array(count);
    (0..count).for_each(|_| call.reply.integer(-1));
    read()
}

pub(super) fn xdelex(call: &mut Call<'_>) -> Handled {
    let key = call.args.at(1);
    let there = call.db.find_mut::<Stream>(key)?.is_some();
    let request = Request::read(call.args, 2)?;
    if !there {
        return reply_absent(call, request.ids.len());
    }
    let ids = request.ids()?;
    let (mut removals, mut changed) = (SmallVec::<[Removal; 8]>::new(), false);
    if let Some(mut stream) = call.db.find_mut::<Stream>(key)? {
        stream.offer_only(Offer::Nothing);
        let held_before = pending_count(&stream);
        removals.extend(ids.iter().map(|id| stream.remove(*id, request.references)));
        changed = removals.contains(&Removal::Removed) || pending_count(&stream) != held_before;
        if !changed {
            stream.leave_unchanged();
        } else if !removals.contains(&Removal::Removed) {
            stream.keep_contents();
        }
    }
    call.reply.array(removals.len());
    removals.iter().for_each(|removal| call.reply.integer(reply_code(*removal)));
    if changed {
        propagate_forgotten(call, key, &ids, request.references);
        propagate_removed(call, key, &ids, &removals);
    }
    done_if_removed(&removals)
}

pub(super) fn xackdel(call: &mut Call<'_>) -> Handled {
    let (key, name) = (call.args.at(1), call.args.at(2));
    let there = call.db.find::<Stream>(key)?.is_some_and(|stream| stream.group(name).is_some());
    let request = Request::read(call.args, 3)?;
    if !there {
        return reply_absent(call, request.ids.len());
    }
    let ids = request.ids()?;
    let mut codes = SmallVec::<[i64; 8]>::new();
    let mut removals = SmallVec::<[Removal; 8]>::new();
    if let Some(mut stream) = call.db.find_mut::<Stream>(key)? {
        stream.offer_only(Offer::Nothing);
        for id in &ids {
            let acknowledged = stream.group_mut(name).is_some_and(|group| group.acknowledge(*id));
            let removal = if acknowledged { stream.remove(*id, request.references) } else { Removal::Absent };
            removals.push(removal);
            // What was acknowledged counts as removed even if the entry had gone before.
            codes.push(match removal {
                Removal::Absent if acknowledged => 1,
                other => reply_code(other),
            });
        }
        if codes.iter().all(|code| *code < 0) {
            stream.leave_unchanged();
        } else if !removals.contains(&Removal::Removed) {
            stream.keep_contents();
        }
    }
    call.reply.array(codes.len());
    codes.iter().for_each(|code| call.reply.integer(*code));
    let acknowledged = ids.iter().zip(&codes).filter(|(_, code)| **code > 0).map(|(id, _)| *id);
    let acknowledged: SmallVec<[Id; 8]> = acknowledged.collect();
    if !acknowledged.is_empty() {
        propagate_ids(call, &[b"XACK", key, name], acknowledged.iter().copied());
        propagate_forgotten(call, key, &acknowledged, request.references);
        propagate_removed(call, key, &ids, &removals);
    }
    done_if_removed(&removals)
}

/// Acknowledging alone is told under no event.
fn done_if_removed(removals: &[Removal]) -> Handled {
    Ok(Outcome::Done(removals.contains(&Removal::Removed).then_some(XDEL)))
}

fn pending_count(stream: &Stream) -> usize {
    stream.groups().map(|(_, group)| group.pending().len()).sum()
}

/// Tells the log that no group holds `ids` any more, where that was asked for.
fn propagate_forgotten(call: &mut Call<'_>, key: &[u8], ids: &[Id], references: References) {
    if references != References::Drop || !call.db.space().effects.logging {
        return;
    }
    let Some(stream) = call.db.find_again::<Stream>(key) else { return };
    let groups: Vec<Vec<u8>> = stream.groups().map(|(name, _)| name.to_vec()).collect();
    for group in groups {
        propagate_ids(call, &[b"XACK", key, &group], ids.iter().copied());
    }
}

fn propagate_removed(call: &mut Call<'_>, key: &[u8], ids: &[Id], removals: &[Removal]) {
    let removed = ids.iter().zip(removals).filter(|(_, removal)| **removal == Removal::Removed);
    propagate_ids(call, &[b"XDEL", key], removed.map(|(id, _)| *id));
}

/// Gives the log the command `head` for `ids`, unless there are none.
pub(super) fn propagate_ids(call: &mut Call<'_>, head: &[&[u8]], ids: impl Iterator<Item = Id>) {
    let texts: SmallVec<[_; 8]> = ids.map(Id::text).collect();
    if texts.is_empty() {
        return;
    }
    let mut argv: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(head);
    argv.extend(texts.iter().map(|text| &text[..]));
    call.propagate(&argv);
}
