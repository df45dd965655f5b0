//! What a client has been answered or told and is not sent yet, part by part.
//!
//! ```text
//!   sent      | batch 1, waits for A | batch 2, waits for B | ...  | at hand
//!   ----------+----------------------+----------------------+------+--------
//!             ^ released             ^ end of a stage       ^ end of the next
//! ```
//! Output stays in its order. What a batch of requests has put behind it waits for that batch's promises, which one [`Stage`] names, and for
//! the stages in front of it; so who is told of others' writes all the time gets each message when what it tells of is safe, and not when
//! the newest is. Where there are as many stages as may be, the last one takes in what comes, until the first has gone.
//!
//! When replicas do not acknowledge in time, the replies to writes among it become errors, one each, and everything else is told as it is
//! ([`crate::unacked`]). Who goes on sending while he waits is not read on for long, so that what is kept is bounded.
//!
//! What was at hand when the first stage came leaves as before, however slowly its client takes it.
//!
//! *Invariants:* ends of stages rise; a reply that waits for replicas lies behind what was released.

use std::ops::Range;

use journal::{Acked, Marks};
use smallvec::SmallVec;

/// Stages of one client.
const STAGES_MAX: usize = 16;

/// Replies to writes that may wait for replicas before their client's next requests do.
const REPLIES_MAX: usize = 4096;

/// For how long a client's requests are run while an earlier reply waits for replicas, microseconds: about as long as they take
/// to acknowledge where all is well.
const GO_ON_US: u64 = 2_000;

/// A part of the output. Places are counted from the first byte that the client was ever sent.
#[derive(Clone, Debug)]
struct Stage {
    /// The place behind it.
    end: u64,
    wanted: Marks,
    /// What the client's own writes in it wait for, those without a reply among them; of two histories the later one, which goes on.
    own: Acked,
    /// Since when it waits for replicas, microseconds.
    since_us: Option<u64>,
    /// Its batch has no ticket yet.
    is_open: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    stages: SmallVec<[Stage; 1]>,
    /// The place up to which output may leave, whatever waits behind it.
    released: u64,
    /// Where the replies stand that wait for replicas, and what each waits for.
    replies: Vec<(Range<u64>, Acked)>,
}

/// What was given up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// Where the replies stand that replicas have not acknowledged.
    pub(crate) replies: Vec<Range<u64>>,
    /// Up to where the client's own writes were waited for in vain; none where none were.
    pub(crate) own: Option<Acked>,
}

impl Parked {
    /// Whether nothing waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// All output up to there may leave, if nothing waits.
    #[inline]
    pub(crate) fn is_at_hand(&mut self, end: u64) {
        if self.is_empty() {
            self.released = end;
        }
    }

    /// A reply of a batch that has no ticket yet waits for replicas. Output ends at `end`.
    pub(crate) fn add_reply(&mut self, reply: Range<u64>, end: u64, wanted: Acked, now_us: u64) {
        if !self.stages.last().is_some_and(|last| last.is_open) {
            self.push(end);
        }
        let Some(stage) = self.stages.last_mut() else { return };
        stage.is_open = true;
        stage.end = end;
        stage.wanted.acked.join(wanted);
        stage.own = stage.own.max(wanted);
        stage.since_us.get_or_insert(now_us);
        if !reply.is_empty() {
            self.replies.push((reply, wanted));
        }
    }

    /// All output up to `end`, behind the stages that are complete, waits for that.
    pub(crate) fn add(&mut self, end: u64, wanted: Marks, now_us: u64) {
        let is_covered = |last: &Stage| last.is_open || last.end == end || last.wanted.cover(&wanted);
        if !self.stages.last().is_some_and(is_covered) {
            if !wanted.wait() {
                return;
            }
            self.push(end);
        }
        let Some(stage) = self.stages.last_mut() else { return };
        stage.is_open = false;
        stage.end = end;
        stage.wanted.join(wanted);
        if wanted.acked.waits() {
            stage.since_us.get_or_insert(now_us);
        }
    }

    /// Another stage, where there is room for it.
    fn push(&mut self, end: u64) {
        if self.stages.len() < STAGES_MAX {
            let (wanted, own) = (Marks::default(), Acked::default());
            self.stages.push(Stage { end, wanted, own, since_us: None, is_open: false });
        }
    }

    /// Lets those stages go of which `is_safe` says so, up to the first of which it does not. Whether one went.
    pub(crate) fn release(&mut self, is_safe: impl Fn(&Marks) -> bool) -> bool {
        let gone = self.stages.iter().take_while(|stage| is_safe(&stage.wanted)).count();
        let Some(last) = gone.checked_sub(1) else { return false };
        self.released = self.stages[last].end;
        if gone == self.stages.len() {
            // Idle clients are many: nothing is kept for the next time.
            *self = Parked { released: self.released, ..Parked::default() };
            return true;
        }
        self.stages.drain(..gone);
        let behind = self.replies.iter().position(|(reply, _)| reply.end > self.released);
        self.replies.drain(..behind.unwrap_or(self.replies.len()));
        true
    }

    /// How many bytes may leave of the output that is left when `sent` were sent.
    pub(crate) fn may_leave(&self, sent: u64) -> usize {
        match self.is_empty() {
            true => usize::MAX,
            false => usize::try_from(self.released.saturating_sub(sent)).unwrap_or(usize::MAX),
        }
    }

    /// Whether the first stage may go, or one of them can never be acknowledged.
    pub(crate) fn may_go_on(
        &self,
        is_safe: impl Fn(&Marks) -> bool,
        is_past: impl Fn(Acked) -> bool,
    ) -> bool {
        self.stages.first().is_some_and(|stage| is_safe(&stage.wanted))
            || self.stages.iter().any(|stage| is_past(stage.wanted.acked))
    }

    /// Since when the first of what waits for replicas does, microseconds.
    #[inline]
    fn since_us(&self) -> Option<u64> {
        self.stages.iter().find_map(|stage| stage.since_us)
    }

    /// Whether something waits for replicas.
    #[inline]
    pub(crate) fn awaits_replicas(&self) -> bool {
        self.since_us().is_some()
    }

    /// When the first of it has waited for so long.
    pub(crate) fn due_us(&self, timeout_us: u64) -> Option<u64> {
        Some(self.since_us()?.saturating_add(timeout_us))
    }

    /// Whether the client's next requests wait, too.
    #[inline]
    pub(crate) fn holds_back(&self, now_us: u64) -> bool {
        self.since_us().is_some_and(|since_us| {
            self.replies.len() >= REPLIES_MAX || now_us.saturating_sub(since_us) > GO_ON_US
        })
    }

    /// Replicas are waited for no more by the stages up to the last of which `is_over` says so, by since when they wait and for what. What
    /// they have not acknowledged is late. None where nothing is given up.
    pub(crate) fn give_up(
        &mut self,
        is_acked: impl Fn(Acked) -> bool,
        is_over: impl Fn(u64, Acked) -> bool,
    ) -> Option<GivenUp> {
        let is_over = |stage: &Stage| stage.since_us.is_some_and(|us| is_over(us, stage.wanted.acked));
        let last = self.stages.iter().rposition(is_over)?;
        let end = self.stages[last].end;
        let mut own = Acked::default();
        for stage in &mut self.stages[..=last] {
            if !is_acked(stage.own) {
                own = own.max(stage.own);
            }
            (stage.own, stage.since_us, stage.wanted.acked) = (Acked::default(), None, Acked::default());
        }
        let behind = self.replies.iter().position(|(reply, _)| reply.end > end);
        let over = self.replies.drain(..behind.unwrap_or(self.replies.len()));
        let late = over.filter(|(_, wanted)| !is_acked(*wanted)).map(|(reply, _)| reply);
        Some(GivenUp { replies: late.collect(), own: own.waits().then_some(own) })
    }

    /// Each of these parts, which are in order, has been replaced by so many bytes: what lies behind them has moved.
    pub(crate) fn replaced(&mut self, parts: &[Range<u64>], bytes: u64) {
        let moved = |place: u64| {
            let before = parts.iter().take_while(|part| part.end <= place);
            let (count, gone) = before.fold((0, 0), |(n, gone), part| (n + 1, gone + part.end - part.start));
            place + count * bytes - gone
        };
        self.stages.iter_mut().for_each(|stage| stage.end = moved(stage.end));
        for (reply, _) in &mut self.replies {
            *reply = moved(reply.start)..moved(reply.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(history: u64, position: u64) -> Acked {
        Acked { history, position }
    }

    fn acked(history: u64, position: u64) -> Marks {
        Marks { acked: at(history, position), ..Marks::default() }
    }

    /// Has a reply wait for replicas in a batch of its own, which no log keeps.
    fn park(parked: &mut Parked, reply: Range<u64>, wanted: Acked, now_us: u64) {
        let end = reply.end;
        parked.add_reply(reply, end, wanted, now_us);
        parked.add(end, Marks::default(), now_us);
    }

    #[test]
    fn each_part_leaves_when_what_it_waits_for_has_happened() {
        let mut parked = Parked::default();
        assert_eq!(parked.may_leave(0), usize::MAX);
        for ticket in 1..=3 {
            parked.add(ticket * 10, Marks::agreed(ticket), 0);
        }
        assert_eq!(parked.may_leave(0), 0);
        assert!(!parked.release(|wanted| Marks::agreed(0).cover(wanted)));
        assert!(parked.release(|wanted| Marks::agreed(2).cover(wanted)));
        assert_eq!((parked.may_leave(0), parked.may_leave(15), parked.may_leave(20)), (20, 5, 0));
        assert!(parked.release(|wanted| Marks::agreed(3).cover(wanted)));
        assert!(parked.is_empty() && parked.may_leave(20) == usize::MAX);
    }

    #[test]
    fn what_was_at_hand_before_does_not_wait() {
        let mut parked = Parked::default();
        parked.is_at_hand(30);
        parked.add(40, Marks::agreed(1), 0);
        parked.is_at_hand(40);
        assert_eq!((parked.may_leave(10), parked.may_leave(30)), (20, 0));
        assert!(parked.release(|_| true));
        parked.add(45, Marks::agreed(2), 0);
        assert_eq!(parked.may_leave(30), 10, "what has waited is at hand as well");
    }

    #[test]
    fn of_two_histories_in_one_stage_each_reply_is_judged_by_its_own() {
        let mut parked = Parked::default();
        parked.add_reply(0..5, 5, at(1, 10), 0);
        parked.add_reply(5..9, 9, at(2, 20), 0);
        parked.add(9, Marks::default(), 0);
        let carried = at(1, 10);
        assert!(!parked.release(|wanted| carried.cover(wanted.acked)), "the second is on no replica");
        let given_up = parked.give_up(|wanted| carried.cover(wanted), |_, wanted| at(2, 1).is_past(wanted));
        assert_eq!(given_up, Some(GivenUp { replies: vec![5..9; 1], own: Some(at(2, 20)) }));
    }

    #[test]
    fn what_comes_beyond_the_bound_waits_with_the_last_stage_until_the_first_has_gone() {
        let mut parked = Parked::default();
        for ticket in 1..=100 {
            parked.add(ticket, Marks::agreed(ticket), 0);
        }
        assert_eq!(parked.stages.len(), STAGES_MAX);
        assert!(parked.release(|wanted| Marks::agreed(1).cover(wanted)));
        parked.add(101, Marks::agreed(101), 0);
        assert!(parked.release(|wanted| Marks::agreed(100).cover(wanted)));
        assert_eq!(parked.may_leave(0), 100, "and what came then is by itself again");
        assert!(parked.release(|wanted| Marks::agreed(101).cover(wanted)));
    }

    #[test]
    fn a_reply_waits_for_the_log_of_its_batch_and_for_replicas() {
        let mut parked = Parked::default();
        parked.add_reply(0..5, 5, at(1, 9), 0);
        parked.add_reply(5..10, 12, at(1, 19), 0);
        parked.add(14, Marks::agreed(7), 0);
        assert_eq!(parked.stages.len(), 1);
        let reached = |agreed, position| Marks { agreed, acked: at(1, position), ..Marks::default() };
        assert!(!parked.release(|wanted| reached(6, 19).cover(wanted)));
        assert!(!parked.release(|wanted| reached(7, 18).cover(wanted)));
        assert!(parked.release(|wanted| reached(7, 19).cover(wanted)));
    }

    #[test]
    fn who_goes_on_sending_is_held_back_by_time_and_by_number() {
        let mut parked = Parked::default();
        assert!(!parked.holds_back(u64::MAX) && !parked.awaits_replicas() && parked.due_us(1).is_none());
        park(&mut parked, 0..5, at(1, 10), 1_000);
        park(&mut parked, 5..9, at(1, 20), 9_000);
        assert_eq!(parked.due_us(5_000_000), Some(5_001_000), "by the first");
        assert!(!parked.holds_back(1_000 + GO_ON_US) && parked.holds_back(1_001 + GO_ON_US));
        parked.release(|wanted| acked(1, 10).cover(wanted));
        assert!(!parked.holds_back(9_000 + GO_ON_US), "the first has gone");
        (0..REPLIES_MAX as u64).for_each(|n| park(&mut parked, 9 + n..10 + n, at(1, 20), 9_000));
        assert!(parked.holds_back(9_000));
    }

    #[test]
    fn only_what_replicas_have_not_acknowledged_is_late() {
        let both = || {
            let mut parked = Parked::default();
            parked.add_reply(0..5, 5, at(2, 10), 0);
            parked.add_reply(5..9, 9, at(2, 20), 0);
            parked.add(12, acked(2, 30), 0);
            parked
        };
        let late = |reached: Acked| {
            let GivenUp { replies, own } =
                both().give_up(|wanted| reached.cover(wanted), |_, _| true).unwrap();
            (replies.len(), own)
        };
        assert_eq!(late(at(2, 9)), (2, Some(at(2, 20))));
        assert_eq!(late(at(2, 10)), (1, Some(at(2, 20))));
        assert_eq!(late(at(2, 20)), (0, None), "what it lacks is others'");
        assert_eq!(late(at(3, 99)), (2, Some(at(2, 20))), "another history");
        let mut listener = Parked::default();
        listener.add(5, acked(2, 7), 0);
        assert!(listener.awaits_replicas());
        assert_eq!(
            listener.give_up(|wanted| at(2, 1).cover(wanted), |_, _| true),
            Some(GivenUp::default()),
            "it has written nothing"
        );
        assert!(listener.release(|wanted| acked(2, 1).cover(wanted)), "and is told what there is");
    }

    #[test]
    fn what_is_not_late_yet_waits_on_behind_the_errors() {
        let mut parked = Parked::default();
        park(&mut parked, 0..5, at(1, 10), 1_000);
        park(&mut parked, 5..9, at(1, 20), 2_000);
        park(&mut parked, 9..13, at(1, 30), 3_000);
        let given_up =
            parked.give_up(|wanted| at(1, 9).cover(wanted), |since_us, _| since_us <= 2_000).unwrap();
        assert_eq!(given_up, GivenUp { replies: vec![0..5, 5..9], own: Some(at(1, 20)) });
        parked.replaced(&given_up.replies, 100);
        assert!(parked.release(|wanted| acked(1, 9).cover(wanted)));
        assert_eq!(parked.may_leave(0), 200);
        let given_up = parked.give_up(|wanted| at(1, 9).cover(wanted), |_, _| true).unwrap();
        assert_eq!(given_up, GivenUp { replies: vec![200..204; 1], own: Some(at(1, 30)) });
    }
}
