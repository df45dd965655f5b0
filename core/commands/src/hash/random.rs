//! Picks at random: HRANDFIELD, and what other families' random picks share with it.

use super::reply_value;
use crate::call::{Call, Handled, read};
use crate::error::Error;
use base::Random;

/// Random picks with repetition in one reply: what a negative count may ask for.
const RANDOM_PICKS_MAX: u64 = 1 << 20;

/// The count of a command that picks at random.
///
/// # Errors
/// When it is none, or asks for more than a reply may hold.
pub(crate) fn random_count(call: &Call<'_>, doubled: bool) -> Result<i64, Error> {
    let count = whole_count(call)?;
    let too_many = count < 0 && count.unsigned_abs() > RANDOM_PICKS_MAX;
    if too_many || (doubled && count.unsigned_abs() > i64::MAX as u64 / 2) {
        return Err(Error::new("ERR value is out of range"));
    }
    Ok(count)
}

/// The count as it was given, if it has a positive counterpart.
///
/// # Errors
/// When it is none or has none.
pub(crate) fn whole_count(call: &Call<'_>) -> Result<i64, Error> {
    let text = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    Some(call.args.int(2)?).filter(|count| *count != i64::MIN).ok_or(Error::new(text))
}

/// A generator of its own for picks while the collection is borrowed.
pub(crate) fn chance(call: &mut Call<'_>) -> Random {
    Random::new(call.db.space().random.next_u64())
}

pub(super) fn hrandfield(call: &mut Call<'_>) -> Handled {
    let mut random = chance(call);
    if call.args.len() == 2 {
        let hash = call.db.find_any_fields(call.args.at(1))?;
        reply_value(&mut call.reply, hash.and_then(|hash| hash.random(&mut random)).map(|(field, _)| field));
        return read();
    }
    whole_count(call)?; // is told before a wrong word behind it
    let with_values = call.args.len() == 4;
    if call.args.len() > 4 || (with_values && !call.args.is(3, "withvalues")) {
        return Err(Error::SYNTAX);
    }
    let count = random_count(call, with_values)?;
    let Some(hash) = call.db.find_any_fields(call.args.at(1))? else {
        call.reply.array(0);
        return read();
    };
    let picks: Vec<(&[u8], &[u8])> = if count < 0 {
        (0..count.unsigned_abs()).filter_map(|_| hash.random(&mut random)).collect()
    } else {
        hash.random_distinct(&mut random, usize::try_from(count).unwrap_or(usize::MAX))
    };
    let pairs = with_values && call.reply.is_resp3();
    call.reply.array(if with_values && !pairs { 2 * picks.len() } else { picks.len() });
    for (field, value) in picks {
        if pairs {
            call.reply.array(2);
        }
        call.reply.bulk(field);
        if with_values {
            call.reply.bulk(value);
        }
    }
    read()
}
