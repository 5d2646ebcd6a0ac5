//! What we know of an address: its sessions, what waits for one, and how it behaves.

use std::collections::VecDeque;
use std::time::Duration;

/// Gossip repeats itself: what waits longer than four messages is out of date.
const QUEUE_LIMIT: usize = 4;

/// One to send, one to receive late packets, and two of simultaneous opens.
pub(super) const SESSIONS_PER_CONTACT_LIMIT: usize = 4;

/// This many messages without any sign of life, or fewer for longer, cast doubt on a session.
const UNANSWERED_LIMIT: u32 = 3;
const DOUBT_AFTER: Duration = Duration::from_secs(2);
const DOUBT_AFTER_ANY: Duration = Duration::from_secs(10);

/// Between attempts to open a session: 1, 2, 4, 8, 8, … seconds after each failure.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_DOUBLINGS: u32 = 3;

/// Data that we cannot read makes us open a session at most this often.
pub(super) const PROVOKED_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Contact {
    /// Local indexes of its sessions, oldest first.
    pub(super) sessions: Vec<u32>,
    /// The confirmed session that we send on.
    pub(super) active: Option<u32>,
    /// Messages that wait for a session.
    pub(super) queue: VecDeque<(u8, Vec<u8>)>,
    /// Local index of our handshake with it.
    pub(super) opening: Option<u32>,
    /// A handshake is to be started as soon as it may.
    pub(super) wants_session: bool,
    pub(super) last_used: Duration,
    not_before: Duration,
    failures: u32,
    provoked_at: Option<Duration>,
    unanswered: u32,
    unanswered_since: Option<Duration>,
    sent_since_attempt: bool,
}

impl Contact {
    pub(super) fn new(now: Duration) -> Self {
        Self { last_used: now, ..Self::default() }
    }

    pub(super) fn enqueue(&mut self, kind: u8, payload: &[u8]) {
        if self.queue.len() == QUEUE_LIMIT {
            self.queue.pop_front();
        }
        self.queue.push_back((kind, payload.to_vec()));
    }

    pub(super) fn may_open(&self, now: Duration) -> bool {
        self.wants_session && self.opening.is_none() && now >= self.not_before
    }

    pub(super) fn opening_started(&mut self, index: u32) {
        self.opening = Some(index);
        self.wants_session = false;
        self.sent_since_attempt = false;
    }

    /// We answer its handshake: ours can wait for the outcome.
    pub(super) fn answering(&mut self, now: Duration) {
        self.not_before = self.not_before.max(now + BACKOFF);
    }

    pub(super) fn opening_failed(&mut self, now: Duration) {
        self.opening = None;
        self.not_before = now + BACKOFF * (1 << self.failures.min(BACKOFF_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        self.queue.clear();
    }

    pub(super) fn heard(&mut self, now: Duration) {
        self.last_used = now;
        self.failures = 0;
        self.not_before = Duration::ZERO;
        self.unanswered = 0;
        self.unanswered_since = None;
    }

    pub(super) fn sent(&mut self, now: Duration) {
        self.last_used = now;
        self.unanswered = self.unanswered.saturating_add(1);
        self.unanswered_since.get_or_insert(now);
        self.sent_since_attempt = true;
    }

    /// It sent data of a session that we do not have: it, or we, were restarted.
    pub(super) fn provoked(&mut self, now: Duration) {
        if self.provoked_at.is_none_or(|before| now.saturating_sub(before) >= PROVOKED_EVERY) {
            self.provoked_at = Some(now);
            self.wants_session = true;
        }
    }

    /// Whether what we send seems to go nowhere.
    pub(super) fn is_doubtful(&self, now: Duration) -> bool {
        let Some(since) = self.unanswered_since else {
            return false;
        };
        let silence = now.saturating_sub(since);
        let many = self.unanswered >= UNANSWERED_LIMIT && silence >= DOUBT_AFTER;
        self.sent_since_attempt && (many || silence >= DOUBT_AFTER_ANY)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.sessions.is_empty()
            && self.opening.is_none()
            && self.queue.is_empty()
            && !self.wants_session
    }
}
