//! Places on the earth as 52-bit geohashes: the scores of a sorted set, whose neighbours are near each other.
//!
//! Longitude and latitude are cut into 2^26 steps each and their bits interleaved, latitude in the even bits. A search picks a cell
//! size, takes the cell of the centre with its eight neighbours as ranges of scores, and measures what lies in them; cell size
//! and order of the cells are Redis', so that an unsorted or cut-off search finds the same. Distances are along great circles.

use std::ops::Range;

/// Steps of a full hash, bits per axis.
const STEPS: u32 = 26;
/// Greatest longitude, degrees.
pub const LONGITUDE_MAX: f64 = 180.0;
/// Greatest latitude, degrees: that of the Mercator projection, whose poles are infinitely far away.
pub const LATITUDE_MAX: f64 = 85.05112878;
const EARTH_RADIUS_M: f64 = 6372797.560856;
const MERCATOR_MAX_M: f64 = 20037726.37;

/// A place, degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// East positive.
    pub longitude: f64,
    /// North positive.
    pub latitude: f64,
}

impl Point {
    /// A place within the limits.
    pub fn new(longitude: f64, latitude: f64) -> Option<Point> {
        let inside = longitude.abs() <= LONGITUDE_MAX && latitude.abs() <= LATITUDE_MAX;
        inside.then_some(Point { longitude, latitude })
    }

    /// The score under which the place is kept.
    pub fn score(self) -> f64 {
        Cell::of(self, STEPS, LATITUDE_MAX).bits() as f64
    }

    /// The place of a score: the middle of its cell.
    pub fn of_score(score: f64) -> Point {
        let cell = Cell::of_bits(bits_of_score(score));
        let (longitude, latitude) = (cell.longitudes(), cell.latitudes());
        let middle = |range: Range<f64>, max: f64| ((range.start + range.end) / 2.0).clamp(-max, max);
        Point { longitude: middle(longitude, LONGITUDE_MAX), latitude: middle(latitude, LATITUDE_MAX) }
    }

    /// The usual geohash text, eleven letters, which counts latitudes up to the poles.
    pub fn geohash(self) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, STEPS, 90.0).bits();
        let letters = (1..=10).map(|i| bits >> (52 - 5 * i) & 0x1f);
        // 52 bits do not fill eleven letters: the last one is always zero.
        letters.chain([0]).map(|letter| char::from(ALPHABET[letter as usize])).collect()
    }

    /// The distance along the great circle, metres.
    pub fn distance(self, other: Point) -> f64 {
        let (lon1, lon2) = (self.longitude.to_rad(), other.longitude.to_rad());
        let v = ((lon2 - lon1) / 2.0).sin();
        if v == 0.0 {
            return latitude_distance(self.latitude, other.latitude);
        }
        let (lat1, lat2) = (self.latitude.to_rad(), other.latitude.to_rad());
        let u = ((lat2 - lat1) / 2.0).sin();
        let a = u * u + lat1.cos() * lat2.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }
}

fn latitude_distance(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (b.to_rad() - a.to_rad()).abs()
}

/// Degrees and radians by the same factors as Redis: the standard library's may differ in the last bit.
trait Angle {
    fn to_rad(self) -> f64;
    fn to_deg(self) -> f64;
}

impl Angle for f64 {
    fn to_rad(self) -> f64 {
        self * (core::f64::consts::PI / 180.0)
    }

    fn to_deg(self) -> f64 {
        self / (core::f64::consts::PI / 180.0)
    }
}

/// A cell of the grid: `steps` bits for each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    x: u32,
    y: u32,
    steps: u32,
}

impl Cell {
    fn of(place: Point, steps: u32, latitude_max: f64) -> Cell {
        let cells = (1u64 << steps) as f64;
        let step = |value: f64, max: f64| ((value + max) / (max + max) * cells) as u32;
        Cell { x: step(place.longitude, LONGITUDE_MAX), y: step(place.latitude, latitude_max), steps }
    }

    fn of_bits(bits: u64) -> Cell {
        Cell { x: gather(bits >> 1), y: gather(bits), steps: STEPS }
    }

    fn bits(self) -> u64 {
        spread(self.y) | spread(self.x) << 1
    }

    fn longitudes(self) -> Range<f64> {
        self.range(self.x, LONGITUDE_MAX)
    }

    fn latitudes(self) -> Range<f64> {
        self.range(self.y, LATITUDE_MAX)
    }

    fn range(self, at: u32, max: f64) -> Range<f64> {
        let cells = (1u64 << self.steps) as f64;
        let edge = |at: f64| -max + at / cells * (max + max);
        edge(f64::from(at))..edge(f64::from(at) + 1.0)
    }

    /// The cell so many columns east and rows north; the grid is closed in both directions. A place on the very edge
    /// of the earth is in a cell just outside, and stays there unless it is moved, as in Redis.
    fn moved(self, east: i32, north: i32) -> Cell {
        let mask = (1u32 << self.steps) - 1;
        let step = |at: u32, by: i32| if by == 0 { at } else { at.wrapping_add_signed(by) & mask };
        Cell { x: step(self.x, east), y: step(self.y, north), ..self }
    }

    /// The scores of the places in it.
    fn scores(self) -> Range<f64> {
        let shift = 2 * (STEPS - self.steps);
        (self.bits() << shift) as f64..((self.bits() + 1) << shift) as f64
    }
}

/// The bits of any score, as the processor of Redis' first home turns a double into an unsigned number: what is too large or
/// below zero keeps its low 64 bits. Such scores come from ZADD; what GEOPOS tells of them is known to clients' tests.
fn bits_of_score(score: f64) -> u64 {
    const HIGH: f64 = (1u64 << 63) as f64;
    let signed = |score: f64| if (-HIGH..HIGH).contains(&score) { score as i64 as u64 } else { 1 << 63 };
    if score < HIGH { signed(score) } else { signed(score - HIGH) ^ 1 << 63 }
}

/// The bits of `value` at the even places.
fn spread(value: u32) -> u64 {
    let mut n = u64::from(value);
    n = (n | n << 16) & 0x0000_ffff_0000_ffff;
    n = (n | n << 8) & 0x00ff_00ff_00ff_00ff;
    n = (n | n << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    n = (n | n << 2) & 0x3333_3333_3333_3333;
    (n | n << 1) & 0x5555_5555_5555_5555
}

/// The bits at the even places of `value`.
fn gather(value: u64) -> u32 {
    let mut n = value & 0x5555_5555_5555_5555;
    n = (n | n >> 1) & 0x3333_3333_3333_3333;
    n = (n | n >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    n = (n | n >> 4) & 0x00ff_00ff_00ff_00ff;
    n = (n | n >> 8) & 0x0000_ffff_0000_ffff;
    (n | n >> 16) as u32
}

/// What is searched around a centre, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Everything within a radius.
    Circle(f64),
    /// Everything within half the width east and west, half the height north and south.
    Box {
        /// Width.
        width: f64,
        /// Height.
        height: f64,
    },
}

impl Shape {
    /// The distance of a place from the centre if the place lies within, metres.
    pub fn distance_within(self, centre: Point, place: Point) -> Option<f64> {
        match self {
            Shape::Circle(radius) => Some(centre.distance(place)).filter(|distance| *distance <= radius),
            Shape::Box { width, height } => {
                let beside = Point { longitude: centre.longitude, ..place };
                let within = latitude_distance(place.latitude, centre.latitude) <= height / 2.0
                    && place.distance(beside) <= width / 2.0;
                within.then(|| centre.distance(place))
            }
        }
    }

    /// The ranges of scores that cover the shape, in the order to be searched; at most nine.
    pub fn scores(self, centre: Point) -> Vec<Range<f64>> {
        let bounds = self.bounds(centre);
        let mut cell = Cell::of(centre, self.steps(centre.latitude), LATITUDE_MAX);
        let enough = cell.moved(0, 1).latitudes().end >= bounds.north
            && cell.moved(0, -1).latitudes().start <= bounds.south
            && cell.moved(1, 0).longitudes().end >= bounds.east
            && cell.moved(-1, 0).longitudes().start <= bounds.west;
        if !enough && cell.steps > 1 {
            cell = Cell::of(centre, cell.steps - 1, LATITUDE_MAX);
        }
        let (longitudes, latitudes) = (cell.longitudes(), cell.latitudes());
        // The cell itself reaches further than the shape: nothing to find beyond.
        let useless = |(east, north): (i32, i32)| {
            cell.steps >= 2
                && (north < 0 && latitudes.start < bounds.south
                    || north > 0 && latitudes.end > bounds.north
                    || east < 0 && longitudes.start < bounds.west
                    || east > 0 && longitudes.end > bounds.east)
        };
        const AROUND: [(i32, i32); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let cells =
            AROUND.into_iter().filter(|way| !useless(*way)).map(|(east, north)| cell.moved(east, north));
        let mut out: Vec<Range<f64>> = Vec::with_capacity(AROUND.len());
        for scores in cells.map(Cell::scores) {
            // Cells of half the earth are their own neighbours.
            if !out.contains(&scores) {
                out.push(scores);
            }
        }
        out
    }

    fn bounds(self, centre: Point) -> Bounds {
        let (half_width, half_height) = match self {
            Shape::Circle(radius) => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let lat_delta = (half_height / EARTH_RADIUS_M).to_deg();
        let furthest =
            if centre.latitude < 0.0 { centre.latitude - lat_delta } else { centre.latitude + lat_delta };
        let lon_delta = (half_width / EARTH_RADIUS_M / furthest.to_rad().cos()).to_deg();
        Bounds {
            west: centre.longitude - lon_delta,
            east: centre.longitude + lon_delta,
            south: centre.latitude - lat_delta,
            north: centre.latitude + lat_delta,
        }
    }

    /// Bits per axis of cells that are about as large as the shape.
    fn steps(self, latitude: f64) -> u32 {
        let mut reach = match self {
            Shape::Circle(radius) => radius,
            Shape::Box { width, height } => (width / 2.0).hypot(height / 2.0),
        };
        if reach == 0.0 {
            return STEPS;
        }
        let mut steps = 1i32;
        // Doubling ends after as many steps as a double has exponents at most; beyond the clamp none matters.
        while reach < MERCATOR_MAX_M && steps <= STEPS as i32 + 4 {
            reach *= 2.0;
            steps += 1;
        }
        // Towards the poles a cell is narrower.
        let narrower = i32::from(latitude.abs() > 66.0) + i32::from(latitude.abs() > 80.0);
        (steps - 2 - narrower).clamp(1, STEPS as i32) as u32
    }
}

/// A rectangle of degrees.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PALERMO: Point = Point { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Point = Point { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn places_keep_their_scores_and_texts() {
        assert_eq!(PALERMO.score(), 3479099956230698.0);
        assert_eq!(CATANIA.score(), 3479447370796909.0);
        let stored = Point::of_score(PALERMO.score());
        assert_eq!((stored.geohash().as_str(), stored.score()), ("sqc8b49rny0", PALERMO.score()));
        let apart = stored.distance(Point::of_score(CATANIA.score()));
        assert_eq!(format!("{apart:.4}"), "166274.1516");
        assert_eq!(Point::new(181.0, 0.0), None);
        assert_eq!(Point::new(0.0, 85.06), None);
    }

    #[test]
    fn the_cells_cover_what_is_searched() {
        let mut random = base::Random::new(11);
        let mut between = |max: f64| (random.unit_f64() * 2.0 - 1.0) * max;
        for round in 0..300 {
            let centre = Point::new(between(179.0), between(80.0)).unwrap();
            let reach = 10f64.powi(round % 6 + 1);
            let shapes = [Shape::Circle(reach), Shape::Box { width: reach, height: reach / 3.0 }];
            for shape in shapes {
                let ranges = shape.scores(centre);
                let degrees = reach / 111_000.0;
                for _ in 0..50 {
                    let (east, north) = (between(degrees), between(degrees));
                    let Some(place) = Point::new(centre.longitude + east, centre.latitude + north) else {
                        continue;
                    };
                    let score = place.score();
                    let found = ranges.iter().any(|range| range.contains(&score));
                    assert!(
                        found || shape.distance_within(centre, Point::of_score(score)).is_none(),
                        "{shape:?} {centre:?} {place:?}"
                    );
                }
            }
        }
    }
}
