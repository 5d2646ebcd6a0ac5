//! Puts chitchat behind the guard: its socket is two queues, and only checked bytes become messages.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, Deserializable,
    FailureDetectorConfig, Serializable, spawn_chitchat,
};
use thiserror::Error;

use crate::guard::{GossipId, KEY};
use crate::queue::Queue;

/// Messages that wait for chitchat or for the network. A round is at most 5 messages each half
/// second and as many answers; beyond that the older ones are stale.
const WAITING: usize = 256;

/// Heartbeat intervals that the detector averages over.
const SAMPLES: usize = 1000;

/// Longer gaps say nothing about the rhythm of heartbeats.
const INTERVAL_MAX: Duration = Duration::from_secs(10);

/// The gossip engine could not start, or ended by itself.
#[derive(Debug, Error)]
#[error("gossip stopped: {reason}")]
pub struct GossipDied {
    pub(crate) reason: String,
}

/// How chitchat is to run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) id: GossipId,
    pub(crate) cluster_id: String,
    pub(crate) interval: Duration,
    pub(crate) phi: f64,
    pub(crate) grace: Duration,
    pub(crate) record: String,
}

/// Our end of the two queues.
pub(crate) struct Bridge {
    inbox: Queue<(SocketAddr, ChitchatMessage)>,
    outbox: Queue<(SocketAddr, Vec<u8>)>,
}

impl Bridge {
    /// Starts chitchat. It runs a task of its own that ends when the handle is dropped.
    pub(crate) async fn start(settings: Settings) -> Result<(Self, ChitchatHandle), GossipDied> {
        let bridge = Self { inbox: Queue::new(WAITING), outbox: Queue::new(WAITING) };
        let ours = Ends { inbox: bridge.inbox.clone(), outbox: bridge.outbox.clone() };
        let id = chitchat_id(&settings.id);
        let config = ChitchatConfig {
            listen_addr: id.gossip_advertise_addr,
            chitchat_id: id,
            cluster_id: settings.cluster_id,
            gossip_interval: settings.interval,
            // Seeds are ours to resolve and to try; see the `seeds` module.
            seed_nodes: Vec::new(),
            failure_detector_config: FailureDetectorConfig::new(
                settings.phi,
                SAMPLES,
                INTERVAL_MAX,
                settings.interval,
                settings.grace,
            ),
            marked_for_deletion_grace_period: settings.grace,
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let values = vec![(KEY.to_owned(), settings.record)];
        let transport = Once { ends: Mutex::new(Some(ours)) };
        let handle = spawn_chitchat(config, values, &transport)
            .await
            .map_err(|error| GossipDied { reason: format!("{error:#}") })?;
        Ok((bridge, handle))
    }

    /// Hands chitchat a message that the guard wrote. Returns whether it could read it.
    pub(crate) fn deliver(&self, from: SocketAddr, clean: &[u8]) -> bool {
        // The guard's bytes should never fail; if they do, a message is lost and not the node.
        let read =
            catch_unwind(AssertUnwindSafe(|| ChitchatMessage::deserialize(&mut &clean[..]).ok()));
        match read {
            Ok(Some(message)) => {
                self.inbox.push((from, message));
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// The next message that chitchat wants to send. Nothing is lost if the wait is given up.
    pub(crate) async fn sent(&self) -> (SocketAddr, Vec<u8>) {
        self.outbox.pop().await
    }
}

pub(crate) fn chitchat_id(id: &GossipId) -> ChitchatId {
    ChitchatId::new(id.short.as_str(), id.generation, id.address)
}

pub(crate) fn gossip_id(id: &ChitchatId) -> GossipId {
    GossipId {
        short: id.node_id.to_string(),
        generation: id.generation_id,
        address: id.gossip_advertise_addr,
    }
}

struct Ends {
    inbox: Queue<(SocketAddr, ChitchatMessage)>,
    outbox: Queue<(SocketAddr, Vec<u8>)>,
}

/// A transport that opens once.
struct Once {
    ends: Mutex<Option<Ends>>,
}

#[async_trait]
impl Transport for Once {
    async fn open(&self, _listen: SocketAddr) -> Result<Box<dyn Socket>, anyhow::Error> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
        match ends {
            Some(ends) => Ok(Box::new(ends)),
            None => Err(std::io::Error::other("already open").into()),
        }
    }
}

#[async_trait]
impl Socket for Ends {
    async fn send(
        &mut self,
        to: SocketAddr,
        message: ChitchatMessage,
    ) -> Result<(), anyhow::Error> {
        // Writing a delta asserts on its own arithmetic. A lost message comes again.
        if let Ok(bytes) = catch_unwind(AssertUnwindSafe(|| message.serialize_to_vec())) {
            self.outbox.push((to, bytes));
        }
        Ok(())
    }

    async fn recv(&mut self) -> Result<(SocketAddr, ChitchatMessage), anyhow::Error> {
        Ok(self.inbox.pop().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_of_chitchat_is_noticed() {
        let address = SocketAddr::from(([10, 0, 0, 1], 1));
        let settings = Settings {
            id: GossipId { short: "0123456789a".to_owned(), generation: 1, address },
            cluster_id: "c".to_owned(),
            interval: Duration::from_millis(500),
            phi: 8.0,
            grace: Duration::from_secs(60),
            record: "record".to_owned(),
        };
        let (_bridge, chitchat) = Bridge::start(settings).await.unwrap();
        let ended = chitchat.termination_watcher();
        chitchat.abort();
        let ended = tokio::time::timeout(Duration::from_secs(1), ended).await;
        assert!(matches!(ended, Ok(Err(_))), "as after a panic: {ended:?}");
    }
}
