//! Small loops that carry facts from one part to another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crypto::stream::Client;
use crypto::{Certificate, Credentials, NodeId};
use membership::{BigMessage, Membership, Payload, Presence, View};
use model::Availability;
use store::Store;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::admission::Admitted;
use crate::messages::{
    Assignments, BIG_GOSSIP, BigGossip, BigGossipAnswer, RENEW, RenewAnswer, RenewRequest,
};
use crate::peers::{Link, Peers};
use crate::standing::unix_seconds;

/// One message that does not fit datagrams; the next round sends a newer one.
const BIG_DEADLINE: Duration = Duration::from_secs(2);

/// How often the age of a worker's certificate is looked at.
const RENEWAL_PERIOD: Duration = Duration::from_secs(60);

/// One request for a new certificate.
const RENEW_DEADLINE: Duration = Duration::from_secs(5);

/// Keeps our gossip record up to date.
#[expect(clippy::too_many_arguments, reason = "a loop between six parts, called once")]
pub(crate) async fn payload(
    membership: Membership,
    mut payload: Payload,
    mut genesis: watch::Receiver<Option<[u8; 16]>>,
    mut admitted: watch::Receiver<Option<Admitted>>,
    store: Option<Store>,
    stop: CancellationToken,
) {
    let me = membership.view().borrow().me;
    loop {
        let before = payload.clone();
        payload.genesis = *genesis.borrow_and_update();
        payload.raft_id = admitted.borrow_and_update().map_or(0, |admitted| admitted.raft_id);
        let state = store.as_ref().map(|store| Arc::clone(&store.state().borrow()));
        payload.draining = state
            .and_then(|state| state.node(me).map(|node| node.spec.availability))
            .is_some_and(|availability| availability == Availability::Drain);
        payload.state = Presence::Alive;
        if payload != before
            && let Err(error) = membership.update(payload.clone()).await
        {
            debug!(error = &error as &dyn std::error::Error, "record not updated");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = genesis.changed() => if changed.is_err() { return },
            changed = admitted.changed() => if changed.is_err() { return },
            () = sleep(RENEWAL_PERIOD) => {}
        }
    }
}

/// Carries gossip that does not fit datagrams over streams.
pub(crate) async fn big_gossip(
    mut messages: mpsc::Receiver<BigMessage>,
    peers: Peers,
    stop: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return,
            message = messages.recv() => message,
        };
        let Some(BigMessage { node, address, bytes }) = message else { return };
        let client = match node {
            Some(node) => peers.client(node, Link::Control).await,
            None => peers.client_at(address).await,
        };
        let sent = match client {
            Ok(client) => {
                let message = BigGossip { bytes };
                let sent = client.unary::<_, BigGossipAnswer>(BIG_GOSSIP, &message, BIG_DEADLINE);
                sent.await.map(|_| ()).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = sent {
            debug!(peer.addr = %address, why, "long gossip message lost");
        }
    }
}

/// Removed nodes lose our trust: their sessions are cut, their records ignored.
pub(crate) async fn revocations(
    mut assignments: watch::Receiver<Option<Arc<Assignments>>>,
    credentials: watch::Sender<Arc<Credentials>>,
    membership: Membership,
    stop: CancellationToken,
) {
    loop {
        let removed: Option<BTreeSet<NodeId>> = assignments
            .borrow_and_update()
            .as_ref()
            .map(|assignments| assignments.removed.iter().copied().collect());
        if let Some(removed) = removed.filter(|removed| *credentials.borrow().revoked != *removed) {
            info!(n_removed = removed.len(), "removed nodes lost our trust");
            let revoked = Arc::new(removed.clone());
            credentials.send_modify(|known| *known = Arc::new(known.with_revoked(removed)));
            let admission = membership::Admission { allowed: None, revoked };
            if membership.admit(admission).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = assignments.changed() => if changed.is_err() { return },
        }
    }
}

/// Renews a worker's certificate when half of its life is over, at any eligible node.
pub(crate) async fn renew_worker(
    credentials: watch::Sender<Arc<Credentials>>,
    view: watch::Receiver<Arc<View>>,
    peers: Peers,
    keep: impl Fn(&Certificate) -> Result<(), String>,
    stop: CancellationToken,
) {
    let mut period = interval(RENEWAL_PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = period.tick() => {}
        }
        let due = credentials.borrow().gate_key().is_some()
            && credentials.borrow().is_due(unix_seconds());
        if !due {
            continue;
        }
        let eligible: Vec<_> = {
            let view = view.borrow();
            view.alive().filter(|member| member.eligible).map(|member| member.id).collect()
        };
        for node in eligible {
            let renewed = match peers.client(node, Link::Control).await {
                Ok(client) => ask(&client).await,
                Err(error) => Err(error.to_string()),
            };
            match renewed.and_then(|certificate| keep(&certificate).map(|()| certificate)) {
                Ok(certificate) => {
                    info!("certificate renewed");
                    credentials.send_modify(|known| {
                        *known = Arc::new(known.with_certificate(certificate));
                    });
                    break;
                }
                Err(why) => debug!(peer.id = %node.short(), why, "certificate not renewed"),
            }
        }
    }
}

async fn ask(client: &Client) -> Result<Certificate, String> {
    let answer = client.unary::<_, RenewAnswer>(RENEW, &RenewRequest {}, RENEW_DEADLINE).await;
    let answer = answer.map_err(|error| error.to_string())?;
    Certificate::decode(&answer.certificate).map_err(|error| error.to_string())
}
