//! Carries the bytes of sessions that are not ours: we can neither read nor answer them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crypto::stream::{Offer, Status};
use membership::View;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::leadership::Leadership;

/// A third party has this long to answer a SYN.
const CONNECT: Duration = Duration::from_millis(1_500);

/// Token holders that are carried at the same time. Nobody has proved anything yet: whoever
/// finds a worker could otherwise make it fill the door of its managers.
const JOINS_MAX: usize = 4;

/// Knocks that are carried at once after a pause: a rack of new workers.
const JOINS_BURST: u32 = 10;

/// After that one in so much time; a joiner tries again every two seconds.
const JOINS_PERIOD: Duration = Duration::from_secs(2);

/// Joining takes a handshake, an admission and its commit: 8 s at most.
const JOIN_MAX: Duration = Duration::from_secs(15);

/// Nodes with the key that are tried.
const HOLDERS_MAX: usize = 3;

/// From a member to another one.
pub(crate) async fn carry(address: Option<SocketAddr>, offer: Offer) -> Result<(), Status> {
    let address = address.ok_or_else(|| Status::not_found("no address of that node is known"))?;
    let connected = timeout(CONNECT, TcpStream::connect(address)).await;
    let mut third = match connected {
        Ok(Ok(third)) => third,
        Ok(Err(error)) => return Err(Status::unavailable(error.to_string())),
        Err(_) => return Err(Status::unavailable("no answer")),
    };
    let mut tunnel = offer.accept()?;
    // Either side may end it; the inner session notices by itself.
    let _ = copy_bidirectional(&mut tunnel, &mut third).await;
    Ok(())
}

/// From a token's holder that knocks at a worker to a node with the cluster key.
#[derive(Debug)]
pub(crate) struct JoinRelay {
    me: crypto::NodeId,
    view: watch::Receiver<Arc<View>>,
    leadership: Leadership,
    // A std mutex, never held across an await: two numbers.
    budget: Mutex<Budget>,
}

impl JoinRelay {
    pub(crate) fn new(
        me: crypto::NodeId,
        view: watch::Receiver<Arc<View>>,
        leadership: Leadership,
    ) -> Self {
        Self { me, view, leadership, budget: Mutex::new(Budget::new(Instant::now())) }
    }

    /// Carries one knock and what follows; `read` is what we have read of it.
    pub(crate) async fn carry(&self, mut from: TcpStream, read: Vec<u8>) {
        if !self.with_budget(|budget| budget.begin(Instant::now())) {
            return debug!("too many token holders knock here, one was sent away");
        }
        let carried = timeout(JOIN_MAX, async {
            let mut to = self.holder().await?;
            to.write_all(&read).await.ok()?;
            copy_bidirectional(&mut from, &mut to).await.ok()
        });
        let ended = carried.await;
        self.with_budget(Budget::end);
        debug!(in_time = ended.is_ok(), "token's holder was carried to a manager");
    }

    fn with_budget<T>(&self, act: impl FnOnce(&mut Budget) -> T) -> T {
        act(&mut self.budget.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The leader, or another node with the key: it asks the leader itself.
    async fn holder(&self) -> Option<TcpStream> {
        let leader = self.leadership.now().node;
        let mut addresses: Vec<_> = {
            let view = self.view.borrow();
            let holders = view.alive().filter(|member| member.eligible && member.id != self.me);
            holders.map(|member| (Some(member.id) != leader, member.address)).collect()
        };
        addresses.sort_unstable();
        for (_, address) in addresses.into_iter().take(HOLDERS_MAX) {
            if let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(address)).await {
                return Some(stream);
            }
        }
        None
    }
}

/// How many knocks may be carried. Pure.
#[derive(Debug)]
struct Budget {
    n_carried: usize,
    /// When the bucket will be full; each knock moves it on.
    full_at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { n_carried: 0, full_at: now }
    }

    fn begin(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + JOINS_PERIOD;
        if JOINS_MAX <= self.n_carried || JOINS_PERIOD * JOINS_BURST < full_at - now {
            return false;
        }
        self.full_at = full_at;
        self.n_carried += 1;
        true
    }

    fn end(&mut self) {
        self.n_carried = self.n_carried.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_make_us_knock_without_end() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let at_once = (0..20).filter(|_| budget.begin(start)).count();
        assert_eq!(at_once, JOINS_MAX);
        (0..JOINS_MAX).for_each(|_| budget.end());
        let in_turns = (0..20)
            .filter(|_| {
                budget.begin(start) && {
                    budget.end();
                    true
                }
            })
            .count();
        assert_eq!(at_once + in_turns, usize::try_from(JOINS_BURST).unwrap());
        let later = start + 3 * JOINS_PERIOD;
        let later = (0..20)
            .filter(|_| {
                budget.begin(later) && {
                    budget.end();
                    true
                }
            })
            .count();
        assert_eq!(later, 3);
    }
}
