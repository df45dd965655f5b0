//! Places on the earth, kept as scores of sorted sets: adding, measuring, and searching around a centre.

use crate::call::{Args, Call, Handled, done, read};
use crate::error::Error;
use crate::spec::{Group, Keys, Row};
use keyspace::{Event, EventClass};
use types::Collection;
use types::geo::{Point, Shape};
use types::zset::{AddOptions, Added, ScoreBound, ZSet};

const ZADD: Event = Event::new(EventClass::ZSET, "zadd");

const fn row(name: &'static str, arity: i32, run: crate::Handler) -> Row {
    Row::new(name, arity, Group::Geo, run)
}

/// The rows of this family.
#[rustfmt::skip]
pub static COMMANDS: &[Row] = &[
    row("geoadd", -5, geoadd).key().grows(),
    row("geodist", -4, geodist).key().readonly(),
    row("geohash", -2, geohash).key().readonly(),
    row("geopos", -2, geopos).key().readonly(),
    row("georadius", -6, georadius).movable_keys(Keys::FirstAndStore).grows(),
    row("georadius_ro", -6, georadius_ro).key().readonly(),
    row("georadiusbymember", -5, georadiusbymember).movable_keys(Keys::FirstAndStore).grows(),
    row("georadiusbymember_ro", -5, georadiusbymember_ro).key().readonly(),
    row("geosearch", -7, geosearch).key().readonly(),
    row("geosearchstore", -8, geosearchstore).keys(1, 2, 1).grows(),
];

// Arguments.

/// Metres of the unit that argument `i` names.
fn unit(args: Args<'_>, i: usize) -> Result<f64, Error> {
    match () {
        () if args.is(i, "m") => Ok(1.0),
        () if args.is(i, "km") => Ok(1000.0),
        () if args.is(i, "ft") => Ok(0.3048),
        () if args.is(i, "mi") => Ok(1609.34),
        () => Err(Error::new("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

/// Longitude and latitude, arguments `i` and `i + 1`.
fn place(args: Args<'_>, i: usize) -> Result<Point, Error> {
    let (longitude, latitude) = (args.float(i)?, args.float(i + 1)?);
    let outside = || Error::text(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"));
    Point::new(longitude, latitude).ok_or_else(outside)
}

fn length(args: Args<'_>, i: usize, refusal: &'static str) -> Result<f64, Error> {
    args.float(i).map_err(|_| Error::new(refusal))
}

/// A radius and its unit, arguments `i` and `i + 1`: the circle, and the unit's metres.
fn circle(args: Args<'_>, i: usize) -> Result<(Shape, f64), Error> {
    let radius = length(args, i, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(Error::new("ERR radius cannot be negative"));
    }
    let metres = unit(args, i + 1)?;
    Ok((Shape::Circle(radius * metres), metres))
}

/// Width, height and unit from argument `i` on: the box, and the unit's metres.
fn rectangle(args: Args<'_>, i: usize) -> Result<(Shape, f64), Error> {
    let width = length(args, i, "ERR need numeric width")?;
    let height = length(args, i + 1, "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(Error::new("ERR height or width cannot be negative"));
    }
    let metres = unit(args, i + 2)?;
    Ok((Shape::Box { width: width * metres, height: height * metres }, metres))
}

// Single places.

fn geoadd(call: &mut Call<'_>) -> Handled {
    let (key, args) = (call.args.at(1), call.args);
    let (mut options, mut count_changed, mut first) = (AddOptions::default(), false, 2);
    while first < args.len() {
        match () {
            () if args.is(first, "nx") => options.only_new = true,
            () if args.is(first, "xx") => options.only_existing = true,
            () if args.is(first, "ch") => count_changed = true,
            () => break,
        }
        first += 1;
    }
    if !(args.len() - first).is_multiple_of(3) || options.only_new && options.only_existing {
        return Err(Error::SYNTAX);
    }
    let places = (first..args.len()).step_by(3).map(|i| place(args, i));
    let places = places.collect::<Result<Vec<Point>, Error>>()?;
    if options.only_existing && call.db.find_mut::<ZSet>(key)?.is_none() {
        call.reply.integer(0);
        return read();
    }
    let (mut new, mut changed) = (0, 0);
    let mut guard = call.db.upsert::<ZSet>(key)?;
    let (set, limits, _) = guard.parts();
    for (place, member) in places.iter().zip(args.rest(first + 2).iter().step_by(3)) {
        match set.add(member, place.score(), options, limits) {
            Added::New(_) => new += 1,
            Added::Changed(_) => changed += 1,
            Added::Same(_) | Added::Refused | Added::NotANumber => {}
        }
    }
    if new + changed == 0 {
        guard.leave_unchanged();
    }
    guard.count((new + changed) as usize);
    drop(guard);
    call.reply.integer(if count_changed { new + changed } else { new });
    done(ZADD)
}

/// Where a member is.
fn place_of(set: &ZSet, member: &[u8]) -> Option<Point> {
    set.score(member).map(Point::of_score)
}

fn geodist(call: &mut Call<'_>) -> Handled {
    let args = call.args;
    let metres = match args.len() {
        4 => 1.0,
        5 => unit(args, 4)?,
        _ => return Err(Error::SYNTAX),
    };
    let set = call.db.find::<ZSet>(args.at(1))?;
    let ends = set.and_then(|set| Some((place_of(set, args.at(2))?, place_of(set, args.at(3))?)));
    match ends {
        Some((from, to)) => call.reply.bulk(shown(from.distance(to) / metres).as_bytes()),
        None => call.reply.null(),
    }
    read()
}

/// A distance as it is told: four decimals.
fn shown(distance: f64) -> String {
    format!("{distance:.4}")
}

fn geohash(call: &mut Call<'_>) -> Handled {
    let (set, members) = (call.db.find::<ZSet>(call.args.at(1))?, call.args.rest(2));
    call.reply.array(members.len());
    for member in members {
        match set.and_then(|set| place_of(set, member)) {
            Some(place) => call.reply.bulk(place.geohash().as_bytes()),
            None => call.reply.null(),
        }
    }
    read()
}

fn geopos(call: &mut Call<'_>) -> Handled {
    let (set, members) = (call.db.find::<ZSet>(call.args.at(1))?, call.args.rest(2));
    call.reply.array(members.len());
    for member in members {
        match set.and_then(|set| place_of(set, member)) {
            Some(place) => {
                call.reply.array(2);
                call.reply.double(place.longitude);
                call.reply.double(place.latitude);
            }
            None => call.reply.null_array(),
        }
    }
    read()
}

// Searches.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    AsFound,
    Nearest,
    Furthest,
}

/// Where the members found are stored.
#[derive(Clone, Copy, Debug)]
struct Target<'a> {
    key: &'a [u8],
    distances: bool,
    event: Event,
}

/// A search as it was asked for.
#[derive(Debug)]
struct Search<'a> {
    source: &'a [u8],
    centre: Option<Point>,
    shape: Option<Shape>,
    /// Metres of the unit in which distances are told.
    metres: f64,
    order: Order,
    /// 0: all.
    count: usize,
    any: bool,
    with_distance: bool,
    with_hash: bool,
    with_place: bool,
    target: Option<Target<'a>>,
}

impl<'a> Search<'a> {
    fn new(source: &'a [u8]) -> Search<'a> {
        Search {
            source,
            centre: None,
            shape: None,
            metres: 1.0,
            order: Order::AsFound,
            count: 0,
            any: false,
            with_distance: false,
            with_hash: false,
            with_place: false,
            target: None,
        }
    }

    /// Takes argument `i` if it is an option of all searches; how many arguments it took.
    fn take_common(&mut self, args: Args<'a>, i: usize) -> Result<usize, Error> {
        match () {
            () if args.is(i, "withdist") => self.with_distance = true,
            () if args.is(i, "withhash") => self.with_hash = true,
            () if args.is(i, "withcoord") => self.with_place = true,
            () if args.is(i, "any") => self.any = true,
            () if args.is(i, "asc") => self.order = Order::Nearest,
            () if args.is(i, "desc") => self.order = Order::Furthest,
            () if args.is(i, "count") && i + 1 < args.len() => {
                let count = usize::try_from(args.int(i + 1)?).ok().filter(|count| *count > 0);
                self.count = count.ok_or(Error::new("ERR COUNT must be > 0"))?;
                return Ok(2);
            }
            () => return Ok(0),
        }
        Ok(1)
    }

    fn give_shape(&mut self, (shape, metres): (Shape, f64)) {
        (self.shape, self.metres) = (Some(shape), metres);
    }

    /// What must not be asked for together.
    fn check(&self, store_name: &str) -> Result<(), Error> {
        if self.target.is_some() && (self.with_distance || self.with_hash || self.with_place) {
            return Err(Error::text(format!(
                "ERR {store_name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if self.any && self.count == 0 {
            return Err(Error::new("ERR the ANY argument requires COUNT argument"));
        }
        // Some of all cannot be told without an order, unless any will do.
        if self.count > 0 && !self.any && self.order == Order::AsFound {
            self.order = Order::Nearest;
        }
        Ok(())
    }
}

/// The place of a member that a search begins at: `None` when there is no key at all.
fn centre_of(call: &mut Call<'_>, key: &[u8], member: &[u8]) -> Result<Option<Point>, Error> {
    let Some(set) = call.db.find_again::<ZSet>(key) else { return Ok(None) };
    place_of(set, member).map(Some).ok_or(Error::new("ERR could not decode requested zset member"))
}

fn georadius(call: &mut Call<'_>) -> Handled {
    radius_search(call, false, true)
}

fn georadius_ro(call: &mut Call<'_>) -> Handled {
    radius_search(call, false, false)
}

fn georadiusbymember(call: &mut Call<'_>) -> Handled {
    radius_search(call, true, true)
}

fn georadiusbymember_ro(call: &mut Call<'_>) -> Handled {
    radius_search(call, true, false)
}

fn radius_search(call: &mut Call<'_>, by_member: bool, may_store: bool) -> Handled {
    const STORED: Event = Event::new(EventClass::ZSET, "georadiusstore");
    let (args, mut search) = (call.args, Search::new(call.args.at(1)));
    let there = call.db.find::<ZSet>(search.source)?.is_some();
    let mut i = if by_member { 5 } else { 6 };
    if by_member {
        search.centre = centre_of(call, search.source, args.at(2))?;
    } else {
        search.centre = Some(place(args, 2)?);
    }
    if !by_member || there {
        search.give_shape(circle(args, i - 2)?);
    }
    while i < args.len() {
        let taken = search.take_common(args, i)?;
        let distances = args.is(i, "storedist");
        if taken > 0 {
            i += taken;
        } else if may_store && (distances || args.is(i, "store")) && i + 1 < args.len() {
            search.target = Some(Target { key: args.at(i + 1), distances, event: STORED });
            i += 2;
        } else {
            return Err(Error::SYNTAX);
        }
    }
    search.check("STORE option in GEORADIUS")?;
    search.finish()?;
    answer(call, &search)
}

fn geosearch(call: &mut Call<'_>) -> Handled {
    area_search(call, 1, None)
}

fn geosearchstore(call: &mut Call<'_>) -> Handled {
    let event = Event::new(EventClass::ZSET, "geosearchstore");
    let target = Target { key: call.args.at(1), distances: false, event };
    area_search(call, 2, Some(target))
}

fn area_search<'a>(call: &mut Call<'a>, source: usize, target: Option<Target<'a>>) -> Handled {
    let args = call.args;
    let mut search = Search { target, ..Search::new(args.at(source)) };
    call.db.find::<ZSet>(search.source)?;
    let (mut from_member, mut from_place, mut i) = (false, false, source + 1);
    while i < args.len() {
        let left = args.len() - i - 1;
        i += match search.take_common(args, i)? {
            0 if args.is(i, "frommember") && left >= 1 && !from_place => {
                from_member = true;
                search.centre = centre_of(call, search.source, args.at(i + 1))?;
                2
            }
            0 if args.is(i, "fromlonlat") && left >= 2 && !from_member => {
                from_place = true;
                search.centre = Some(place(args, i + 1)?);
                3
            }
            0 if args.is(i, "byradius") && left >= 2 && !matches!(search.shape, Some(Shape::Box { .. })) => {
                search.give_shape(circle(args, i + 1)?);
                3
            }
            0 if args.is(i, "bybox") && left >= 3 && !matches!(search.shape, Some(Shape::Circle(_))) => {
                search.give_shape(rectangle(args, i + 1)?);
                4
            }
            0 => match &mut search.target {
                Some(target) if args.is(i, "storedist") => {
                    target.distances = true;
                    1
                }
                _ => return Err(Error::SYNTAX),
            },
            taken => taken,
        };
    }
    search.check("GEOSEARCHSTORE")?;
    let name = String::from_utf8_lossy(args.at(0));
    if !from_member && !from_place {
        let text = format!("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}");
        return Err(Error::text(text));
    }
    if search.shape.is_none() {
        return Err(Error::text(format!(
            "ERR exactly one of BYRADIUS and BYBOX can be specified for {name}"
        )));
    }
    search.finish()?;
    answer(call, &search)
}

/// A member that a search has found.
#[derive(Clone, Debug)]
struct Hit {
    member: Vec<u8>,
    score: f64,
    /// From the centre, metres.
    distance: f64,
}

fn answer(call: &mut Call<'_>, search: &Search<'_>) -> Handled {
    let hits = hits(call, search);
    match search.target {
        Some(target) => store(call, search, target, hits),
        None => {
            reply_hits(call, search, &hits);
            read()
        }
    }
}

fn hits(call: &mut Call<'_>, search: &Search<'_>) -> Vec<Hit> {
    let set = call.db.find_again::<ZSet>(search.source);
    let (Some(set), Some(centre), Some(shape)) = (set, search.centre, search.shape) else {
        return Vec::new();
    };
    let limit = if search.any { search.count } else { usize::MAX };
    let mut hits = Vec::new();
    for scores in shape.scores(centre) {
        let below = ScoreBound { score: scores.end, exclusive: true };
        let entries = set.range(set.ranks_by_score(ScoreBound::inclusive(scores.start), below));
        let within = entries.filter_map(|(member, score)| {
            let distance = shape.distance_within(centre, Point::of_score(score))?;
            Some(Hit { member: member.to_vec(), score, distance })
        });
        hits.extend(within.take(limit - hits.len()));
        if hits.len() == limit {
            break;
        }
    }
    match search.order {
        Order::AsFound => {}
        Order::Nearest => hits.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
        Order::Furthest => hits.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
    }
    if search.count > 0 {
        hits.truncate(search.count);
    }
    hits
}

fn reply_hits(call: &mut Call<'_>, search: &Search<'_>, hits: &[Hit]) {
    let details =
        usize::from(search.with_distance) + usize::from(search.with_hash) + usize::from(search.with_place);
    let reply = &mut call.reply;
    reply.array(hits.len());
    for hit in hits {
        if details > 0 {
            reply.array(1 + details);
        }
        reply.bulk(&hit.member);
        if search.with_distance {
            reply.bulk(shown(hit.distance / search.metres).as_bytes());
        }
        if search.with_hash {
            reply.integer(hit.score as i64);
        }
        if search.with_place {
            let place = Point::of_score(hit.score);
            reply.array(2);
            reply.double(place.longitude);
            reply.double(place.latitude);
        }
    }
}

fn store(call: &mut Call<'_>, search: &Search<'_>, target: Target<'_>, hits: Vec<Hit>) -> Handled {
    call.reply.count(hits.len());
    if hits.is_empty() {
        call.db.remove(target.key);
        return done(Event::DEL);
    }
    let space = call.db.space();
    let mut set = ZSet::new();
    for hit in &hits {
        let score = if target.distances { hit.distance / search.metres } else { hit.score };
        set.insert(&hit.member, score, &space.limits);
    }
    call.db.put(target.key, set.into(), None);
    call.db.space().effects.recount(hits.len());
    done(target.event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::tests::dialogue;

    #[test]
    fn places_are_measured_and_found() {
        dialogue(
            COMMANDS,
            &[
                ("GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania", ":2"),
                ("GEOADD g CH 13.361389 38.115556 Palermo", ":0"),
                ("GEODIST g Palermo Catania km", "$8 166.2742"),
                ("GEODIST g Palermo none", "$-1"),
                ("GEOHASH g Palermo none", "*2 $11 sqc8b49rny0 $-1"),
                ("GEOPOS g none", "*1 *-1"),
                (
                    "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST",
                    "*2 *2 $7 Catania $7 56.4413 *2 $7 Palermo $8 190.4424",
                ),
                ("GEOSEARCH g FROMLONLAT 15 37 BYBOX 200 200 km", "*1 $7 Catania"),
                ("GEORADIUSBYMEMBER g Palermo 1 m", "*1 $7 Palermo"),
                ("GEOSEARCHSTORE to g FROMMEMBER Palermo BYRADIUS 1000 km COUNT 1 DESC", ":1"),
                ("GEORADIUS to 15 37 200 km", "*1 $7 Catania"),
                ("GEORADIUS_RO g 15 37 200 km STORE to", "-ERR syntax error"),
                ("GEOADD g 181 1 x", "-ERR invalid longitude,latitude pair 181.000000,1.000000"),
            ],
        );
    }
}
