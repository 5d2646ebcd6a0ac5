//! Who does not belong here learns nothing, and is gone within the deadline.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use crate::credentials::Credentials;
use crate::identity::NodeKeys;
use crate::replay::{FirstMessages, SharedFirstMessages};
use crate::stream::testing::{TestCluster, pair_over};
use crate::stream::{HANDSHAKE_DEADLINE, Met, StreamError, accept, dial, meet};

/// Everything one side wrote, as somebody on the way sees it.
async fn first_message(cluster: &TestCluster) -> Vec<u8> {
    let (near, mut far) = duplex(4096);
    let node = cluster.eligible().unwrap();
    let gate = cluster.gate();
    let dialling = dial(near, &node, &gate, b"", HANDSHAKE_DEADLINE);
    let mut bytes = vec![0; 642];
    let (dialled, read) = tokio::join!(dialling, async {
        far.read_exact(&mut bytes).await?;
        drop(far);
        std::io::Result::Ok(())
    });
    read.unwrap();
    assert!(matches!(dialled, Err(StreamError::Closed)), "{dialled:?}");
    bytes
}

/// Runs `accept` against somebody who writes `bytes` and then waits; what that one got back.
async fn against(
    node: &Credentials,
    memory: &SharedFirstMessages,
    bytes: &[u8],
) -> (Vec<u8>, Result<(), StreamError>) {
    let (mut stranger, door) = duplex(64 << 10);
    let began = Instant::now();
    let accepting =
        async { accept(door, node, memory, b"secret hello", HANDSHAKE_DEADLINE).await.map(drop) };
    let talking = async {
        stranger.write_all(bytes).await.unwrap();
        read_all(&mut stranger).await
    };
    let (accepted, got) = tokio::join!(accepting, talking);
    assert!(began.elapsed() <= HANDSHAKE_DEADLINE);
    (got, accepted)
}

async fn read_all(pipe: &mut DuplexStream) -> Vec<u8> {
    let mut got = Vec::new();
    pipe.read_to_end(&mut got).await.unwrap();
    got
}

#[tokio::test(start_paused = true)]
async fn a_stranger_gets_no_byte_whatever_it_says() {
    let (cluster, other) = (TestCluster::new().unwrap(), TestCluster::new().unwrap());
    let node = cluster.eligible().unwrap();
    let memory = SharedFirstMessages::new(FirstMessages::new().unwrap());
    let genuine = first_message(&cluster).await;
    let mut flipped = genuine.clone();
    flipped[300] ^= 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("silence", vec![]),
        ("one byte", vec![2]),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("a TLS hello", [&[0x16, 3, 1, 2, 0, 1][..], &[9; 600]].concat()),
        ("zeros", vec![0; 2000]),
        ("noise", (0..2000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        ("junk of the right length", [&[2, 128][..], &[7; 640]].concat()),
        ("another cluster", first_message(&other).await),
        ("a changed byte", flipped),
        ("half a first message", genuine[..400].to_vec()),
    ];
    for (name, bytes) in cases {
        let (got, accepted) = against(&node, &memory, &bytes).await;
        assert!(got.is_empty(), "{name} was answered with {} bytes", got.len());
        let error = accepted.unwrap_err();
        assert!(error.is_stranger(), "{name}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorded_first_message_is_answered_once() {
    let cluster = TestCluster::new().unwrap();
    let node = cluster.eligible().unwrap();
    let memory = SharedFirstMessages::new(FirstMessages::new().unwrap());
    let recorded = first_message(&cluster).await;
    let (got, _) = against(&node, &memory, &recorded).await;
    assert!(!got.is_empty() && got.len() <= recorded.len());
    let (got, accepted) = against(&node, &memory, &recorded).await;
    assert!(got.is_empty() && accepted.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_dialler_is_told_nothing_by_a_wrong_key_and_waits_no_longer_than_the_deadline() {
    let (cluster, other) = (TestCluster::new().unwrap(), TestCluster::new().unwrap());
    let (near, far) = duplex(4096);
    let nodes = (&other.eligible().unwrap(), &cluster.eligible().unwrap());
    let error = pair_over(near, far, &other.gate(), nodes).await.unwrap_err();
    assert!(error.to_string().contains("session"), "{error}");

    let (near, _silent) = duplex(4096);
    let node = cluster.eligible().unwrap();
    let gate = cluster.gate();
    let dialled = dial(near, &node, &gate, b"", HANDSHAKE_DEADLINE).await;
    assert!(matches!(dialled, Err(StreamError::Deadline { .. })), "{dialled:?}");
}

#[tokio::test]
async fn a_full_memory_asks_for_a_cookie_and_gets_it() {
    let cluster = TestCluster::new().unwrap();
    let (a, b) = (cluster.eligible().unwrap(), cluster.worker().unwrap());
    let gate = cluster.gate();
    let memory = SharedFirstMessages::new(FirstMessages::with_capacity(1).unwrap());
    for _ in 0..4 {
        let (near, far) = duplex(4096);
        let (near, far) = tokio::try_join!(
            dial(near, &b, &gate, b"near", HANDSHAKE_DEADLINE),
            accept(far, &a, &memory, b"far", HANDSHAKE_DEADLINE),
        )
        .unwrap();
        assert_eq!((near.peer().id, far.peer().id), (a.node(), b.node()));
        assert_eq!((near.peer_hello(), far.peer_hello()), (&b"far"[..], &b"near"[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_at_a_worker_is_for_nodes_with_the_key() {
    let cluster = TestCluster::new().unwrap();
    let (worker, holder) = (cluster.worker().unwrap(), cluster.eligible().unwrap());
    let memory = SharedFirstMessages::new(FirstMessages::new().unwrap());
    let token = cluster.token();
    let candidate =
        Credentials::candidate(std::sync::Arc::new(NodeKeys::generate().unwrap()), &token);

    let (near, far) = duplex(64 << 10);
    let gate = token.gate_key();
    let knocking = dial(near, &candidate, &gate, b"", HANDSHAKE_DEADLINE);
    let relayed = async {
        let met = meet(far, &worker, &memory, b"", HANDSHAKE_DEADLINE).await.unwrap();
        let Met::ForKeyHolders { io: mut from, read } = met else { panic!("a worker let it in") };
        let (mut to, door) = duplex(64 << 10);
        let carrying = async {
            to.write_all(&read).await.unwrap();
            tokio::io::copy_bidirectional(&mut from, &mut to).await
        };
        let accepting = accept(door, &holder, &memory, b"", HANDSHAKE_DEADLINE);
        tokio::select! {
            accepted = accepting => accepted.unwrap(),
            ended = carrying => panic!("the relay ended: {ended:?}"),
        }
    };
    let (knocked, accepted) = tokio::join!(knocking, relayed);
    // The worker appears nowhere: both ends have seen each other's keys.
    assert_eq!(knocked.unwrap().peer().id, holder.node());
    assert_eq!(accepted.peer().id, candidate.node());

    // Without the relay a worker is as silent as to any stranger.
    let bytes = [&[2, 128][..], &[1, 1, 1, 1], &[0; 636]].concat();
    let (got, accepted) = against(&worker, &memory, &bytes).await;
    assert!(got.is_empty() && accepted.unwrap_err().is_stranger());
}
