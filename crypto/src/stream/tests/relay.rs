//! A session inside a tunnel, through somebody who can only carry bytes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::NodeId;
use crate::replay::{FirstMessages, SharedFirstMessages};
use crate::stream::testing::{TestCluster, connect_as};
use crate::stream::{
    Client, Context, HANDSHAKE_DEADLINE, Limits, Offer, Options, Router, Status, accept, client,
    dial, serve,
};

const SOON: Duration = Duration::from_secs(10);

/// The leader: says who asks, on any session, and accepts sessions inside tunnels.
fn leader(credentials: crate::Credentials) -> Router {
    let inner: Arc<Router> = Router::new().unary("/whoami", whoami).into();
    let memory = SharedFirstMessages::new(FirstMessages::new().unwrap());
    let inside = move |_: Context, (): (), offer: Offer| {
        let (inner, memory, credentials) = (inner.clone(), memory.clone(), credentials.clone());
        async move {
            let tunnel = offer.accept()?;
            let session = accept(tunnel, &credentials, &memory, b"leader", HANDSHAKE_DEADLINE);
            let session = session.await.map_err(|e| Status::denied(e.to_string()))?;
            serve(session, inner, Limits::control(), CancellationToken::new()).await;
            Ok(())
        }
    };
    Router::new().unary("/whoami", whoami).tunnel("/inside", inside)
}

async fn whoami(context: Context, (): ()) -> Result<NodeId, Status> {
    Ok(context.peer.id)
}

/// The relay: joins two tunnels.
fn relay(onward: Client) -> Router {
    Router::new().tunnel("/relay", move |_: Context, (): (), offer: Offer| {
        let onward = onward.clone();
        async move {
            let far = onward.tunnel("/inside", &(), SOON).await;
            let mut far = far.map_err(|e| Status::unavailable(e.to_string()))?;
            let mut near = offer.accept()?;
            // A broken pipe is broken for both ends; there is nobody else to tell.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            Ok(())
        }
    })
}

#[tokio::test]
async fn a_relay_never_speaks_for_the_one_behind_it() {
    let cluster = TestCluster::new().unwrap();
    let gate = cluster.gate();
    let (origin, relaying, leading) =
        (cluster.worker().unwrap(), cluster.eligible().unwrap(), cluster.eligible().unwrap());
    let mut tasks = JoinSet::new();

    let (to_leader, both) =
        connect_as(leader(leading.clone()), &gate, (&relaying, &leading)).await.unwrap();
    tasks.spawn(both);
    let (to_relay, both) =
        connect_as(relay(to_leader.clone()), &gate, (&origin, &relaying)).await.unwrap();
    tasks.spawn(both);

    let tunnel = to_relay.tunnel("/relay", &(), SOON).await.unwrap();
    let session = dial(tunnel, &origin, &gate, b"origin", HANDSHAKE_DEADLINE).await.unwrap();
    assert_eq!(session.peer().id, leading.node());
    let (inner, driver) = client(session, Options::control()).await.unwrap();
    tasks.spawn(driver);

    let seen: NodeId = inner.unary("/whoami", &(), SOON).await.unwrap();
    assert_eq!(seen, origin.node());
    let seen: NodeId = to_leader.unary("/whoami", &(), SOON).await.unwrap();
    assert_eq!(seen, relaying.node());
}
