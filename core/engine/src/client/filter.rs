//! Which clients CLIENT LIST and CLIENT KILL mean: filters of which a client must fit all.
//!
//! The words are those of Redis and of Valkey 9, which has more of them, and `NOT-` before most.

use super::line::{self, ClientType};
use crate::engine::Engine;
use crate::session::{Session, SessionId};
use commands::{Args, Error};

/// The letters that CLIENT LIST may show as flags, in Redis or Valkey.
const FLAGS: &[u8] = b"AbBcdeiIMNOPrRStTuUx";
/// The letters that CLIENT LIST may show of CLIENT CAPA.
const CAPABILITIES: &[u8] = b"r";

/// Something that a client is or is not.
#[derive(Debug)]
enum Trait<'a> {
    /// It has one of these numbers.
    Id(Vec<u64>),
    ClientType(ClientType),
    Address(&'a [u8]),
    LocalAddress(&'a [u8]),
    User(usize),
    /// It has all these flags.
    Flags(&'a [u8]),
    Name(&'a [u8]),
    LibName(&'a [u8]),
    LibVersion(&'a [u8]),
    Db(usize),
    /// It can do all that these letters stand for.
    Capabilities(&'a [u8]),
    Ip(&'a [u8]),
}

impl Trait<'_> {
    fn fits(&self, s: &Session) -> bool {
        // A name that was never given is not even the empty one.
        let named = |name: &[u8], wanted: &[u8]| !name.is_empty() && name == wanted;
        match self {
            Trait::Id(ids) => ids.contains(&s.id),
            Trait::ClientType(kind) => ClientType::of(s) == *kind,
            Trait::Address(address) => s.info.address.as_bytes() == *address,
            Trait::LocalAddress(address) => s.info.local_address.as_bytes() == *address,
            Trait::User(user) => s.user == *user,
            Trait::Flags(wanted) => {
                let flags = line::flags(s);
                wanted.iter().all(|flag| flags.as_bytes().contains(flag))
            }
            Trait::Name(name) => named(&s.name, name),
            Trait::LibName(name) => named(&s.lib_name, name),
            Trait::LibVersion(version) => named(&s.lib_version, version),
            Trait::Db(db) => s.db == *db,
            Trait::Capabilities(wanted) => wanted.is_empty() || s.follows_redirects,
            Trait::Ip(ip) => {
                let host = s.info.address.rsplit_once(':').map_or("", |(host, _)| host);
                named(host.trim_matches(['[', ']']).as_bytes(), ip)
            }
        }
    }
}

/// The filters of one request.
#[derive(Debug, Default)]
pub(super) struct Filter<'a> {
    /// What a client must be, or (true) must not be.
    traits: Vec<(bool, Trait<'a>)>,
    /// Whether the client that asks is left out.
    skip_me: bool,
    age_s_min: u64,
    idle_s_min: u64,
}

impl<'a> Filter<'a> {
    /// The one client from `address`.
    pub(super) fn of_address(address: &'a [u8]) -> Filter<'a> {
        Filter { traits: vec![(false, Trait::Address(address))], ..Filter::default() }
    }

    /// Reads the filters from argument 2 on. `bad_id` is said of a number that is none.
    ///
    /// # Errors
    /// The first that is wrong.
    pub(super) fn parse(
        engine: &Engine,
        args: Args<'a>,
        skip_me: bool,
        bad_id: &'static str,
    ) -> Result<Filter<'a>, Error> {
        let mut filter = Filter { skip_me, ..Filter::default() };
        let mut i = 2;
        while i < args.len() {
            let word = args.at(i).to_ascii_lowercase();
            let value = args.find(i + 1).ok_or(Error::SYNTAX)?;
            let (negated, name) = match word.strip_prefix(b"not-") {
                Some(name) => (true, name),
                None => (false, &word[..]),
            };
            i += 2;
            match name {
                b"id" => {
                    let ids = ids(args, i - 1).ok_or(Error::new(bad_id))?;
                    i += ids.len() - 1;
                    filter.traits.push((negated, Trait::Id(ids)));
                }
                b"maxage" if !negated => filter.age_s_min = seconds("maxage", value)?,
                b"idle" if !negated => filter.idle_s_min = seconds("idle", value)?,
                b"skipme" if !negated => {
                    filter.skip_me = value.eq_ignore_ascii_case(b"yes");
                    if !filter.skip_me && !value.eq_ignore_ascii_case(b"no") {
                        return Err(Error::SYNTAX);
                    }
                }
                _ => filter.traits.push((negated, a_trait(engine, name, value, negated)?)),
            }
        }
        Ok(filter)
    }

    /// The client numbers asked for, in their order, if they were; clients are then shown in that order.
    pub(super) fn ids(&self) -> Option<&[u64]> {
        self.traits.iter().find_map(|(negated, a_trait)| match a_trait {
            Trait::Id(ids) if !negated => Some(&ids[..]),
            _ => None,
        })
    }

    /// Whether the client `id` is meant, when `asker` asks at `now_us`.
    pub(super) fn fits(&self, (id, s): (SessionId, &Session), asker: SessionId, now_us: u64) -> bool {
        let seconds = |since_us: u64| now_us.saturating_sub(since_us) / 1_000_000;
        !(self.skip_me && id == asker)
            && seconds(s.created_us) >= self.age_s_min
            && seconds(s.last_us) >= self.idle_s_min
            && self.traits.iter().all(|(negated, a_trait)| a_trait.fits(s) != *negated)
    }
}

/// The numbers from argument `at` on, up to the first word that is none; `None` when there is no number.
fn ids(args: Args<'_>, at: usize) -> Option<Vec<u64>> {
    let id = |text: &&[u8]| base::number::parse_i64(text).and_then(|id| u64::try_from(id).ok());
    let ids: Vec<u64> = args.rest(at).iter().map_while(id).collect();
    (!ids.is_empty()).then_some(ids)
}

/// A number of seconds, at least 1.
fn seconds(name: &str, value: &[u8]) -> Result<u64, Error> {
    let number = base::number::parse_i64(value)
        .ok_or_else(|| Error::text(format!("ERR {name} is not an integer or out of range")))?;
    u64::try_from(number)
        .ok()
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| Error::text(format!("ERR {name} should be greater than 0")))
}

/// The trait that `name` (in lower case) and `value` mean.
fn a_trait<'a>(engine: &Engine, name: &[u8], value: &'a [u8], negated: bool) -> Result<Trait<'a>, Error> {
    let letters = |what: &str, known: &[u8]| {
        if value.iter().all(|letter| known.contains(letter)) {
            return Ok(value);
        }
        let place = if negated { format!("NOT-{}", what.to_uppercase()) } else { "provided".to_owned() };
        Err(Error::quoting(&format!("ERR Unknown {what} found in the {place} filter: {{}}"), &[value]))
    };
    Ok(match name {
        b"type" => Trait::ClientType(ClientType::parse(value)?),
        b"addr" => Trait::Address(value),
        b"laddr" => Trait::LocalAddress(value),
        b"user" => {
            let none = || Error::quoting("ERR No such user '{}'", &[value]);
            Trait::User(engine.acl.find(value).ok_or_else(none)?)
        }
        b"flags" => Trait::Flags(letters("flags", FLAGS)?),
        b"name" => Trait::Name(value),
        b"lib-name" => Trait::LibName(value),
        b"lib-ver" => Trait::LibVersion(value),
        b"db" => {
            let word = if negated { "NOT-DB" } else { "DB" };
            let last = engine.keyspace.database_count() - 1;
            let number = base::number::parse_i64(value)
                .ok_or_else(|| Error::text(format!("ERR {word} is not an integer or out of range")))?;
            let db = usize::try_from(number).ok().filter(|db| *db <= last);
            let range = || Error::text(format!("ERR {word} number should be between 0 and {last}"));
            Trait::Db(db.ok_or_else(range)?)
        }
        b"capa" => Trait::Capabilities(letters("capa", CAPABILITIES)?),
        b"ip" => Trait::Ip(value),
        _ => return Err(Error::SYNTAX),
    })
}
