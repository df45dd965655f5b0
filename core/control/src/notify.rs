//! systemd's notification protocol: ready, stopping, status, and a watchdog that tells the truth.
//!
//! A watchdog fed by a timer proves only that the timer runs. Here each ping is preceded by asking the
//! server whether its I/O threads tick, with a time limit; a server that hangs gets no ping and is
//! restarted. The same answer extends the start and stop time limits of a server that is busy loading or
//! saving: it is given time for as long as it is alive.

use std::env;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::health::Answer;
use crate::instance::{Health, Level};
use crate::plane::Plane;

/// Rounds when there is a service manager but no watchdog.
const ROUND_DEFAULT: Duration = Duration::from_secs(5);

/// No more often than this, whatever the unit says.
const ROUND_MIN: Duration = Duration::from_millis(20);

/// Pings per watchdog period, so that one late answer does not kill.
const PINGS_PER_PERIOD: u32 = 4;

/// Time asked for when starting or stopping takes longer, per round.
const EXTENSION: Duration = Duration::from_secs(30);

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const STOPPING: u8 = 2;

/// The line to the service manager; silent when there is none.
pub(crate) struct Notifier {
    present: bool,
    phase: AtomicU8,
}

impl Notifier {
    pub(crate) fn from_environment() -> Notifier {
        Notifier { present: env::var_os("NOTIFY_SOCKET").is_some(), phase: AtomicU8::new(STARTING) }
    }

    pub(crate) fn ready(&self) {
        self.phase.store(SERVING, Ordering::Relaxed);
        self.send(&[NotifyState::Ready]);
    }

    pub(crate) fn stopping(&self) {
        self.phase.store(STOPPING, Ordering::Relaxed);
        self.send(&[NotifyState::Stopping]);
    }

    /// The endless round of asking and telling; `None` when nobody listens.
    pub(crate) fn watchdog(plane: &Arc<Plane>) -> Option<impl Future<Output = ()> + Send + 'static> {
        if !plane.notifier().present {
            return None;
        }
        let mut period_us = 0;
        let watched = sd_notify::watchdog_enabled(false, &mut period_us);
        let round = if watched { Duration::from_micros(period_us) / PINGS_PER_PERIOD } else { ROUND_DEFAULT };
        let plane = Arc::clone(plane);
        Some(async move {
            let mut was_alive = true;
            loop {
                tokio::time::sleep(round.max(ROUND_MIN)).await;
                let health = plane.health().await;
                let alive = health.not_alive().is_none();
                if was_alive && !alive {
                    let line = "the I/O threads do not tick: the watchdog is not fed".to_owned();
                    plane.log(Level::Warning, line).await;
                }
                was_alive = alive;
                plane.notifier().tell(&health);
            }
        })
    }

    fn tell(&self, health: &Health) {
        let status = Answer::of(health).to_line();
        let mut states = vec![NotifyState::Status(&status)];
        if health.not_alive().is_none() {
            states.push(NotifyState::Watchdog);
            if self.phase.load(Ordering::Relaxed) != SERVING {
                states.push(NotifyState::ExtendTimeoutUsec(EXTENSION.as_micros() as u32));
            }
        }
        self.send(&states);
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        if self.present {
            // The service manager may restart; what it misses now it is told in the next round.
            let _ = sd_notify::notify(false, states);
        }
    }
}
