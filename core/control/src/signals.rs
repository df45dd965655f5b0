//! The process' signals: SIGTERM and SIGINT stop it, SIGHUP reads certificates and the password's file again, SIGABRT ends it with a report.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::instance::{Level, Stop};
use crate::plane::Plane;

/// The number of the signal, on all systems that we know.
const SIGABRT: i32 = 6;

/// Takes the signals over. From the moment this returns they no longer end the process by themselves.
pub(crate) fn watch(plane: &Arc<Plane>) -> io::Result<()> {
    let (terminate, interrupt, hang_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    tokio::spawn(stop_on(terminate, Arc::clone(plane), [Stop::Terminated; 2]));
    tokio::spawn(stop_on(interrupt, Arc::clone(plane), [Stop::Interrupted, Stop::Insisted]));
    tokio::spawn(reload_on(hang_up, Arc::clone(plane)));
    tokio::spawn(crash_on(signal(SignalKind::from_raw(SIGABRT))?, Arc::clone(plane)));
    Ok(())
}

/// The first signal asks with the first reason, each further one with the second.
async fn stop_on(mut signals: Signal, plane: Arc<Plane>, [first, further]: [Stop; 2]) {
    let mut reason = first;
    while signals.recv().await.is_some() {
        if plane.call(move |instance| instance.shutdown(reason)).await.is_none() {
            plane.log(Level::Warning, "the server did not take the request to stop".to_owned()).await;
        }
        reason = further;
    }
}

/// SIGINT and SIGTERM as values, for a process that has no control plane, such as `tandem up`. From the
/// moment this returns they no longer end the process by themselves.
///
/// # Errors
/// The system gave no thread or signal handler.
pub fn stop_signals() -> io::Result<Receiver<Stop>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let (tell, hear) = channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                let reason = tokio::select! {
                    _ = terminate.recv() => Stop::Terminated,
                    _ = interrupt.recv() => Stop::Interrupted,
                };
                if tell.send(reason).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(hear)
}

async fn crash_on(mut signals: Signal, plane: Arc<Plane>) {
    if signals.recv().await.is_some() {
        plane.call(|instance| instance.crash(SIGABRT)).await;
    }
}

async fn reload_on(mut signals: Signal, plane: Arc<Plane>) {
    while signals.recv().await.is_some() {
        plane.reload_tls(true).await;
        plane.call(|instance| instance.reread()).await;
    }
}
