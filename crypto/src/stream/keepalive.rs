//! Finds out that a peer is gone although nobody closed the connection.

use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use super::settings::Pulse;

/// Asks the peer again and again; returns once it did not answer in time, or the connection ended.
pub(super) async fn keepalive(ping_pong: Option<PingPong>, pulse: Pulse) -> Lost {
    let Pulse { interval, limit } = pulse;
    let Some(mut ping_pong) = ping_pong else {
        // Taken twice, which only we can have done; the connection then lives without a pulse.
        return std::future::pending().await;
    };
    loop {
        sleep(interval).await;
        match timeout(limit, ping_pong.ping(Ping::opaque())).await {
            Ok(Ok(_pong)) => {}
            Ok(Err(_ended)) => return Lost::Ended,
            Err(_elapsed) => return Lost::Silent { waited: limit },
        }
    }
}

/// Why the pulse stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lost {
    /// The connection is over; its own future says why.
    Ended,
    /// No answer in time.
    Silent {
        /// How long we waited.
        waited: Duration,
    },
}
