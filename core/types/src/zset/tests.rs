//! The sorted set beside a naive twin, the rules of scores, and what snapshots rely on.

use super::*;
use base::Random;
use std::collections::BTreeMap;

type Twin = BTreeMap<Vec<u8>, f64>;

fn sorted(twin: &Twin) -> Vec<(&[u8], f64)> {
    let mut all: Vec<_> = twin.iter().map(|(member, score)| (&member[..], *score)).collect();
    all.sort_by(|a, b| a.1.partial_cmp(&b.1).expect("no NaN").then(a.0.cmp(b.0)));
    all
}

fn check(set: &ZSet, twin: &Twin) {
    let all = sorted(twin);
    assert_eq!(set.len(), all.len());
    assert!(set.iter().eq(all.iter().copied()));
    assert!(set.range_rev(0..all.len()).eq(all.iter().rev().copied()));
    let mut seen = BTreeMap::new();
    let mut cursor = 0;
    loop {
        cursor = set.scan(cursor, &mut |member, score| {
            seen.insert(member.to_vec(), score);
        });
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(&seen, twin);
    for (rank, (member, score)) in all.iter().enumerate().step_by(7) {
        assert_eq!(set.rank(member), Some((rank, *score)));
        assert_eq!(set.at(rank), Some((*member, *score)));
    }
}

fn bound(random: &mut Random) -> ScoreBound {
    let score = random.below(40) as f64 - 5.0;
    if random.below(2) == 0 { ScoreBound::inclusive(score) } else { ScoreBound::exclusive(score) }
}

fn check_scores(random: &mut Random, set: &ZSet, twin: &Twin) {
    let (min, max) = (bound(random), bound(random));
    let over = |s: f64| if min.exclusive { s > min.score } else { s >= min.score };
    let under = |s: f64| if max.exclusive { s < max.score } else { s <= max.score };
    let expected: Vec<_> = sorted(twin).into_iter().filter(|(_, s)| over(*s) && under(*s)).collect();
    let ranks = set.ranks_by_score(min, max);
    assert_eq!(ranks.len(), expected.len());
    assert!(set.range(ranks).eq(expected));
}

fn step(random: &mut Random, set: &mut ZSet, twin: &mut Twin, members: u64, limits: &Limits) {
    let member = format!("m{}", random.below(members)).into_bytes();
    let score = random.below(30) as f64;
    match random.below(12) {
        0..7 => assert_eq!(set.insert(&member, score, limits), twin.insert(member, score).is_none()),
        7 | 8 => assert_eq!(set.remove(&member), twin.remove(&member)),
        9 => {
            let options = AddOptions { increment: true, ..AddOptions::default() };
            set.add(&member, 0.5, options, limits);
            *twin.entry(member).or_insert(0.0) += 0.5;
        }
        10 if random.below(30) == 0 => {
            let from = random.below(set.len() as u64 + 2) as usize;
            let ranks = from..from + random.below(300) as usize;
            let gone: Vec<Vec<u8>> =
                sorted(twin).iter().skip(from).take(ranks.len()).map(|(m, _)| m.to_vec()).collect();
            assert_eq!(set.remove_ranks(ranks), gone.len());
            for member in gone {
                twin.remove(&member);
            }
        }
        _ => check_scores(random, set, twin),
    }
}

#[test]
fn behaves_as_a_sorted_map() {
    for (members, steps) in [(60, 4000), (400, 8000), (9000, 60_000)] {
        let mut random = Random::new(members);
        let (mut set, mut twin) = (ZSet::new(), Twin::new());
        let mut shared: Option<(ZSet, Twin)> = None;
        for i in 0..steps {
            step(&mut random, &mut set, &mut twin, members, &Limits::default());
            if i % (steps / 40) == 0 {
                check(&set, &twin);
                if let Some((set, twin)) = shared.replace((set.share(), twin.clone())) {
                    check(&set, &twin);
                }
            }
        }
        assert_eq!(set.encoding(), if members > 128 { "skiplist" } else { "listpack" });
        let gone = set.remove_ranks(0..usize::MAX);
        assert_eq!((gone, set.len()), (twin.len(), 0));
    }
}

#[test]
fn rising_and_falling_scores_keep_the_order() {
    let mut set = ZSet::new();
    let mut twin = Twin::new();
    for i in 0..40_000i32 {
        let score = if i % 2 == 0 { i } else { -i };
        set.insert(&i.to_be_bytes(), f64::from(score), &Limits::default());
        twin.insert(i.to_be_bytes().to_vec(), f64::from(score));
    }
    check(&set, &twin);
    for i in (0..40_000i32).step_by(3) {
        assert!(set.remove(&i.to_be_bytes()).is_some());
        twin.remove(&i.to_be_bytes()[..]);
    }
    check(&set, &twin);
}

#[test]
fn members_with_one_score_are_found_by_name() {
    for limits in [Limits::default(), Limits { zset_entries: 0, ..Limits::default() }] {
        let mut set = ZSet::new();
        for member in ["a", "b", "c", "d", "e"] {
            set.insert(member.as_bytes(), 0.0, &limits);
        }
        assert_eq!(set.ranks_by_lex(LexBound::Lowest, LexBound::Highest), 0..5);
        assert_eq!(set.ranks_by_lex(LexBound::Exclusive(b"a"), LexBound::Inclusive(b"c")), 1..3);
        assert_eq!(set.ranks_by_lex(LexBound::Inclusive(b"aa"), LexBound::Exclusive(b"e")), 1..4);
        assert!(set.ranks_by_lex(LexBound::Highest, LexBound::Lowest).is_empty());
        assert_eq!(set.mirrored(set.ranks(0, 1)), 3..5);
        assert_eq!(set.rev_rank(b"e"), Some((0, 0.0)));
    }
}

#[test]
fn conditions_decide_as_in_redis() {
    let limits = &Limits::default();
    let options = AddOptions::default();
    let mut set = ZSet::new();
    assert_eq!(set.add(b"a", 1.0, AddOptions { only_existing: true, ..options }, limits), Added::Refused);
    assert_eq!(set.add(b"a", 1.0, AddOptions { only_greater: true, ..options }, limits), Added::New(1.0));
    assert_eq!(set.add(b"a", 2.0, AddOptions { only_new: true, ..options }, limits), Added::Refused);
    assert_eq!(set.add(b"a", 1.0, AddOptions { only_greater: true, ..options }, limits), Added::Refused);
    assert_eq!(set.add(b"a", 1.0, options, limits), Added::Same(1.0));
    assert_eq!(set.add(b"a", 0.5, AddOptions { only_less: true, ..options }, limits), Added::Changed(0.5));
    set.insert(b"a", f64::INFINITY, limits);
    let increment = AddOptions { increment: true, ..options };
    assert_eq!(set.add(b"a", f64::NEG_INFINITY, increment, limits), Added::NotANumber);
    set.insert(b"zero", -0.0, limits);
    assert_eq!(set.add(b"zero", 0.0, options, limits), Added::Same(0.0));
    assert!(set.score(b"zero").is_some_and(f64::is_sign_positive));
    set.insert(&[b'x'; 100], -0.0, limits);
    assert!(set.score(&[b'x'; 100]).is_some_and(f64::is_sign_negative));
}

#[test]
fn the_large_form_is_kept_once_reached() {
    let limits = &Limits::default();
    let mut set = ZSet::new();
    set.insert(&[b'x'; 65], 1.0, limits);
    assert_eq!(set.encoding(), "skiplist");
    set.remove(&[b'x'; 65]);
    set.insert(b"a", 1.0, limits);
    assert_eq!(set.encoding(), "skiplist");
}

#[test]
fn a_member_of_sixteen_bytes_costs_less_than_seventy_two() {
    let mut random = Random::new(5);
    let mut set = ZSet::new();
    for i in 0..100_000 {
        set.insert(format!("member:{i:09}").as_bytes(), random.unit_f64() * 1e9, &Limits::default());
    }
    assert!(set.heap_bytes() < 72 * 100_000, "{}", set.heap_bytes() / 100_000);
}

#[test]
fn a_sorted_set_is_sent_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<ZSet>();
}
