//! Settle: the effects of a call applied in one fixed order: log, watchers, tracking, notifications, ready keys.

use crate::engine::Engine;
use crate::queue::Workers;
use crate::session::SessionId;
use commands::Args;
use keyspace::{Cause, Event, EventClass, Offer};

/// A touched key, copied out of the effects while they are applied.
struct Touched {
    db: usize,
    key: Vec<u8>,
    cause: Cause,
    offer: Offer,
}

impl Engine {
    /// Applies what the call has left in the effects. `raw` is the request as RESP where it is at hand. Reads leave nothing: that
    /// is seen where the call is, without one more.
    #[inline(always)]
    pub(crate) fn settle(
        &mut self,
        id: SessionId,
        db: usize,
        event: Option<Event>,
        args: Args<'_>,
        raw: Option<&[u8]>,
    ) {
        let effects = &self.keyspace.effects;
        if effects.changes == 0 && !effects.has_touches() && effects.rewritten_count == 0 {
            return;
        }
        self.settle_effects(id, db, event, args, raw);
    }

    #[inline(never)]
    fn settle_effects(
        &mut self,
        id: SessionId,
        db: usize,
        event: Option<Event>,
        args: Args<'_>,
        raw: Option<&[u8]>,
    ) {
        if self.log.enabled {
            self.log_removals();
            if self.keyspace.effects.changes > 0 {
                self.log_call(db, args, raw);
            }
        }
        if self.link.is_some() {
            self.note_own_expiries(id);
        }
        if self.keyspace.effects.has_touches() || self.keyspace.effects.is_upheaval() {
            self.tell_observers(Some(id), event);
        }
        if self.keyspace.queues.has_suspects() {
            self.keyspace.examine_queues(&Workers::waiting(&self.waiters));
        }
        self.keyspace.effects.clear();
    }

    /// Settles what happened outside of any command: expiry and eviction between requests.
    pub(crate) fn settle_background(&mut self) {
        if self.log.enabled {
            self.log_removals();
        }
        if self.keyspace.effects.has_touches() {
            self.tell_observers(None, None);
        }
        if self.keyspace.queues.has_suspects() {
            self.keyspace.examine_queues(&Workers::waiting(&self.waiters));
        }
        self.keyspace.effects.clear();
    }

    /// Tells all who look at the data set that it is another one now. The log is not told: it begins anew.
    pub fn tell_replaced(&mut self) {
        self.tell_observers(None, None);
        self.keyspace.effects.clear();
    }

    /// Fields and keys that left by themselves are HDELs and DELs in the log, before the command that found them gone. Fields
    /// come first: a hash loses fields before it goes as a whole, never after.
    fn log_removals(&mut self) {
        for (db, command) in self.keyspace.effects.lost_fields() {
            self.log.add_command(db, &command);
        }
        for (touch, key) in self.keyspace.effects.touches() {
            if matches!(touch.cause, Cause::Expired | Cause::Evicted) {
                self.log.add_command(touch.db as usize, &[b"DEL", key]);
            }
        }
    }

    fn log_call(&mut self, db: usize, args: Args<'_>, raw: Option<&[u8]>) {
        let effects = &self.keyspace.effects;
        if effects.rewritten_count > 0 {
            self.log.add_together(db, &effects.rewritten, effects.rewritten_count);
        } else if let Some(raw) = raw {
            self.log.add_received(db, raw, args.all());
        } else {
            self.log.add_command(db, args.all());
        }
    }

    fn tell_observers(&mut self, by: Option<SessionId>, event: Option<Event>) {
        let upheaval = self.keyspace.effects.is_upheaval();
        if upheaval && !self.tracking.is_empty() {
            self.invalidate_all(self.keyspace.effects.emptied);
        }
        let whole = self.keyspace.effects.whole_databases().to_vec();
        if !whole.is_empty() {
            self.break_watches_of(&whole, by);
            self.waiters.make_all_ready(&whole);
            if self.keyspace.effects.exchanged {
                self.note_awaited_in(&whole);
            }
        }
        let touched: Vec<Touched> = (self.keyspace.effects.touches())
            .map(|(t, key)| Touched { db: t.db as usize, key: key.to_vec(), cause: t.cause, offer: t.offer })
            .collect();
        for t in &touched {
            if let Cause::Also(event) = t.cause {
                self.notify_if_wanted(t, event);
                continue;
            }
            let is_seen = t.cause != Cause::Beside;
            if is_seen && !self.watchers.is_empty() {
                let only_left = matches!(t.cause, Cause::Expired | Cause::FieldsExpired { .. });
                self.break_watches(t.db, &t.key, only_left, by);
            }
            if is_seen && !self.tracking.is_empty() && !upheaval {
                self.invalidate(&t.key, by);
            }
            self.notify_touch(t, event);
            if !self.waiters.is_empty() {
                self.waiters.make_ready(t.db, &t.key, t.offer);
            }
        }
    }

    fn notify_if_wanted(&mut self, t: &Touched, event: Event) {
        if self.config.notify.0 != 0 {
            self.notify(t.db, &t.key, event);
        }
    }

    fn notify_touch(&mut self, t: &Touched, event: Option<Event>) {
        if self.config.notify.0 == 0 {
            return;
        }
        match t.cause {
            Cause::Changed | Cause::Beside => {
                if let Some(event) = event {
                    self.notify(t.db, &t.key, event);
                }
            }
            Cause::Named(own) | Cause::Also(own) => self.notify(t.db, &t.key, own),
            Cause::Emptied => {
                if let Some(event) = event {
                    self.notify(t.db, &t.key, event);
                }
                self.notify(t.db, &t.key, Event::DEL);
            }
            Cause::Expired => self.notify(t.db, &t.key, Event::EXPIRED),
            Cause::Evicted => self.notify(t.db, &t.key, Event::EVICTED),
            Cause::FieldsExpired { emptied } => {
                self.notify(t.db, &t.key, Event::HEXPIRED);
                if emptied {
                    self.notify(t.db, &t.key, Event::DEL);
                }
            }
        }
    }

    /// Publishes a keyspace event to its two channels, as far as they are switched on.
    fn notify(&mut self, db: usize, key: &[u8], event: Event) {
        const KEYSPACE: u32 = 1;
        const KEYEVENT: u32 = 2;
        let flags = self.config.notify;
        if !flags.has(event.class.0) {
            return;
        }
        if flags.has(KEYSPACE) {
            let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
            self.publish(&channel, event.name.as_bytes());
        }
        if flags.has(KEYEVENT) {
            let channel = format!("__keyevent@{db}__:{}", event.name);
            self.publish(channel.as_bytes(), key);
        }
    }

    /// Brings up to date whether anybody wants to know touched keys.
    pub(crate) fn observe(&mut self) {
        self.keyspace.effects.observed = !self.watchers.is_empty()
            || !self.tracking.is_empty()
            || !self.waiters.is_empty()
            || self.config.notify.0 != 0
            || self.keeps_own_expiries();
        let wants = |class: EventClass| self.config.notify.has(class.0);
        self.keyspace.effects.tells_new = wants(EventClass::NEW);
        self.keyspace.effects.tells_misses = wants(EventClass::KEY_MISS);
        self.keyspace.effects.tells_replaced =
            wants(EventClass::OVERWRITTEN) || wants(EventClass::TYPE_CHANGED);
    }
}

const _: () = assert!(EventClass::NEW.0 == 1 << 14 && EventClass::KEY_MISS.0 == 1 << 11);
