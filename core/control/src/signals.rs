//! The process' signals: SIGTERM and SIGINT stop it, SIGHUP reads certificates and the password's file again, SIGABRT and SIGQUIT end it
//! with a report; all others that would end it without a word are told of and change nothing.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::instance::{Level, Stop};
use crate::plane::Plane;

/// The number of the signal, on all systems that we know.
const SIGABRT: i32 = 6;

/// Signals that mean nothing here and would end the process without a word: by mistake, by a limit (then what it is about fails by
/// itself, as a write beyond the largest file does), by a tool for other programs.
const IGNORED: &[(i32, &str)] = &[
    (libc::SIGALRM, "SIGALRM"),
    (libc::SIGIO, "SIGIO"),
    (libc::SIGPROF, "SIGPROF"),
    (libc::SIGPWR, "SIGPWR"),
    (libc::SIGSTKFLT, "SIGSTKFLT"),
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGUSR2, "SIGUSR2"),
    (libc::SIGVTALRM, "SIGVTALRM"),
    (libc::SIGXCPU, "SIGXCPU"),
    (libc::SIGXFSZ, "SIGXFSZ"),
];

/// Takes the signals over. From the moment this returns they no longer end the process by themselves.
pub(crate) fn watch(plane: &Arc<Plane>) -> io::Result<()> {
    let (terminate, interrupt, hang_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    tokio::spawn(stop_on(terminate, Arc::clone(plane), Stop::Terminated));
    tokio::spawn(stop_on(interrupt, Arc::clone(plane), Stop::Interrupted));
    tokio::spawn(reload_on(hang_up, Arc::clone(plane)));
    for number in [SIGABRT, libc::SIGQUIT] {
        tokio::spawn(crash_on(signal(SignalKind::from_raw(number))?, number, Arc::clone(plane)));
    }
    let real_time = (libc::SIGRTMIN()..=libc::SIGRTMAX()).map(|number| (number, format!("signal {number}")));
    let named = IGNORED.iter().map(|(number, name)| (*number, (*name).to_owned()));
    for (number, name) in named.chain(real_time) {
        // What the process runs under may keep some for itself, as valgrind does.
        if let Ok(signals) = signal(SignalKind::from_raw(number)) {
            tokio::spawn(tell_of(signals, name, Arc::clone(plane)));
        }
    }
    Ok(())
}

/// Keeps those signals that do not mean the end from ending a process that is about to have a control plane, which only later hears
/// them. What comes until then is lost.
///
/// # Errors
/// The system gave no signal handler.
pub fn hold_early() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    drop(signal(SignalKind::hangup())?);
    for number in IGNORED.iter().map(|(number, _)| *number).chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        // What the process runs under may keep some for itself, as valgrind does. A handler stays once it is there.
        let _ = signal(SignalKind::from_raw(number));
    }
    Ok(())
}

/// Says that a signal came and changes nothing.
async fn tell_of(mut signals: Signal, name: String, plane: Arc<Plane>) {
    while signals.recv().await.is_some() {
        plane
            .log(Level::Warning, format!("Received {name}, which means nothing here: the server goes on."))
            .await;
    }
}

/// Each signal asks with this reason; the instance knows whether it is stopping already.
async fn stop_on(mut signals: Signal, plane: Arc<Plane>, reason: Stop) {
    while signals.recv().await.is_some() {
        if plane.call(move |instance| instance.shutdown(reason)).await.is_none() {
            plane.log(Level::Warning, "the server did not take the request to stop".to_owned()).await;
        }
    }
}

/// What a signal asks of a process that has no control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To end.
    End(Stop),
    /// SIGHUP: to read files again, or to notice that the terminal has gone.
    HangUp,
}

/// SIGINT, SIGTERM and SIGHUP as values, for a process that has no control plane, such as `tandem up`. From the
/// moment this returns they no longer end the process by themselves.
///
/// # Errors
/// The system gave no thread or signal handler.
pub fn wishes() -> io::Result<Receiver<Wish>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt, mut hang_up) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?)
    };
    let (tell, hear) = channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                let wish = tokio::select! {
                    _ = terminate.recv() => Wish::End(Stop::Terminated),
                    _ = interrupt.recv() => Wish::End(Stop::Interrupted),
                    _ = hang_up.recv() => Wish::HangUp,
                };
                if tell.send(wish).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(hear)
}

async fn crash_on(mut signals: Signal, number: i32, plane: Arc<Plane>) {
    if signals.recv().await.is_some() {
        plane.call(move |instance| instance.crash(number)).await;
    }
}

async fn reload_on(mut signals: Signal, plane: Arc<Plane>) {
    while signals.recv().await.is_some() {
        plane.reload_tls(true).await;
        plane.call(|instance| instance.reread()).await;
    }
}
