//! The numbers of h2, and why they are what they are.

use std::time::Duration;

/// Calls at once on one connection. More than any honest node has under way towards one peer.
const CALLS_MAX: u32 = 512;

/// A DATA frame: one Noise record and a bit, so that a small message waits for 64 KiB at most.
pub(super) const FRAME_BYTES_MAX: u32 = 64 << 10;

/// Headers of one call are a path and a deadline.
pub(super) const HEADER_LIST_BYTES_MAX: u32 = 4 << 10;

/// Cancelled calls whose late frames are still recognised, and for how long. A node may drop all
/// its calls at once; each late frame of a forgotten call counts towards [`LATE_FRAMES_MAX`].
pub(super) const CANCELLED_MAX: usize = 512;

/// How long they are remembered: longer than answers are under way on a bad line.
pub(super) const CANCELLED_MEMORY: Duration = Duration::from_secs(10);

/// Calls that were cancelled before the server has looked at them. h2's own 20 would end the
/// connection of a node that drops a batch of calls at once; each of them costs us a few hundred
/// bytes for a moment.
pub(super) const CANCELLED_UNSEEN_MAX: usize = 4096;

/// Frames for forgotten calls before h2 ends the connection (it counts over the connection's whole
/// life, which is an hour). h2's own 1,024 was chosen for strangers; a peer here has a name.
pub(super) const LATE_FRAMES_MAX: usize = 16 << 10;

/// Bookkeeping that h2 may spend on unread DATA frames below 256 bytes. At the automatic number a
/// few stalled readers of short lines would end the connection for everybody.
pub(super) const SMALL_FRAMES_BUDGET_BYTES: usize = 32 << 20;

/// How long calls of a connection that is being renewed may go on: a certificate lives as long, so
/// who was let in must show a new one.
pub(super) const CALL_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Windows of one connection, in bytes: what a reader that does not read costs us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) stream_bytes: u32,
    pub(super) connection_bytes: u32,
}

impl Windows {
    /// Short messages. 64 stalled streams fit before they hold up the others.
    const CONTROL: Self = Self { stream_bytes: 256 << 10, connection_bytes: 16 << 20 };
    /// Tunnels: 20 MB/s each at 50 ms of round trip, and 128 of them stalled beside the others.
    const BULK: Self = Self { stream_bytes: 1 << 20, connection_bytes: 128 << 20 };
}

/// Whether the peer is still there, asked by h2's PING.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    /// Between two questions.
    pub(super) interval: Duration,
    /// Until an answer, which may queue behind a full window on a slow line.
    pub(super) limit: Duration,
}

impl Pulse {
    const DEFAULT: Self = Self { interval: Duration::from_secs(5), limit: Duration::from_secs(15) };
}

/// How a client uses its connection.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) windows: Windows,
    pub(super) pulse: Pulse,
}

impl Options {
    /// For calls and their streams: Raft, assignments, reports.
    #[must_use]
    pub fn control() -> Self {
        Self { windows: Windows::CONTROL, pulse: Pulse::DEFAULT }
    }

    /// For tunnels, logs and snapshots, on a connection of their own, so that a heartbeat never
    /// queues behind them.
    #[must_use]
    pub fn bulk() -> Self {
        Self { windows: Windows::BULK, pulse: Pulse::DEFAULT }
    }
}

/// What a server grants one connection.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(super) windows: Windows,
    pub(super) pulse: Pulse,
    /// Calls at once.
    pub calls_max: u32,
    /// Bytes of questions that are being received or answered, all calls together: eight of the
    /// largest. More wait for their turn, so that 512 large questions are not 2 GiB.
    pub question_bytes_max: usize,
    /// The longest a unary call may take, whatever its caller says.
    pub deadline_max: Duration,
    /// How long a stopping server lets calls under way finish.
    pub drain: Duration,
}

impl Limits {
    /// For a control connection.
    #[must_use]
    pub fn control() -> Self {
        Self {
            windows: Windows::CONTROL,
            pulse: Pulse::DEFAULT,
            calls_max: CALLS_MAX,
            question_bytes_max: 32 << 20,
            deadline_max: Duration::from_secs(300),
            drain: Duration::from_secs(2),
        }
    }

    /// For a bulk connection.
    #[must_use]
    pub fn bulk() -> Self {
        Self { windows: Windows::BULK, ..Self::control() }
    }
}
