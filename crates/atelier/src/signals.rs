//! Signals of the server: what asks it to stop, and what must not end it.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Keeps SIGUSR1 and SIGUSR2, which mean nothing here, from ending the process. Does not end.
pub(crate) fn ignore_user_signals() -> std::io::Result<()> {
    for (name, kind) in [("SIGUSR1", SignalKind::user_defined1()), ("SIGUSR2", SignalKind::user_defined2())] {
        let mut received = signal(kind)?;
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                tracing::info!("{name} has no meaning for the server");
            }
        });
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT, or for SIGHUP: the terminal that the server runs in is closed.
///
/// A server that was started with SIGHUP ignored (`nohup`) outlives its terminal.
pub(crate) async fn stop_asked() -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
    tokio::select! {
        // signals are remembered until they are received
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = received(&mut hangup) => {}
    }
    Ok(())
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether the process was started with SIGHUP ignored: a handler of ours would undo that.
fn hangup_is_ignored() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status))
}

/// Reads the mask of ignored signals (proc_pid_status(5)); its lowest bit is SIGHUP.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert!(ignores_hangup("Name:\tatelier\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n"));
        assert!(!ignores_hangup("Name:\tatelier\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangup(""));
    }
}
