//! Unary calls, streams and tunnels, and how they end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Stuck, running};
use crate::stream::testing::{TestCluster, connect_as, pair};
use crate::stream::{
    Code, Context, Limits, Offer, Options, Receiving, Router, RpcError, Sending, Status, client,
    serve,
};

const SOON: Duration = Duration::from_secs(10);

async fn double(_: Context, n: u32) -> Result<u32, Status> {
    n.checked_mul(2).ok_or_else(|| Status::new(Code::Refused, "too large to double"))
}

async fn count(_: Context, n: u32, mut out: Sending<u32>) -> Result<(), Status> {
    for i in 0..n {
        out.send(&i).await?;
    }
    if n == 13 { Err(Status::unavailable("out of luck")) } else { Ok(()) }
}

async fn echo(_: Context, greeting: String, offer: Offer) -> Result<(), Status> {
    if greeting != "open" {
        return Err(Status::denied(format!("{greeting} is not the word")));
    }
    let (mut read, mut write) = tokio::io::split(offer.accept()?);
    tokio::io::copy(&mut read, &mut write).await.map_err(|e| Status::internal(e.to_string()))?;
    write.shutdown().await.map_err(|e| Status::internal(e.to_string()))
}

fn router() -> Router {
    Router::new().unary("/double", double).stream("/count", count).tunnel("/echo", echo)
}

#[track_caller]
fn code(error: &RpcError) -> Code {
    error.status().map_or_else(|| panic!("no status: {error:?}"), |status| status.code)
}

#[tokio::test]
async fn a_question_is_answered() {
    let (client, _tasks) = running(router()).await;
    assert_eq!(client.unary::<_, u32>("/double", &21_u32, SOON).await.unwrap(), 42);
    let error = client.unary::<_, u32>("/double", &u32::MAX, SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "refused: too large to double");
}

#[tokio::test]
async fn who_asks_is_who_shook_hands() {
    let whoami = |context: Context, (): ()| async move {
        let hello = String::from_utf8_lossy(&context.peer_hello).into_owned();
        Ok((context.peer.id, hello, context.deadline.is_some()))
    };
    let cluster = TestCluster::new().unwrap();
    let (near, far) = (cluster.worker().unwrap(), cluster.eligible().unwrap());
    let router = Router::new().unary("/whoami", whoami);
    let (client, both) = connect_as(router, &cluster.gate(), (&near, &far)).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(both);
    let answer: (crate::NodeId, String, bool) = client.unary("/whoami", &(), SOON).await.unwrap();
    assert_eq!(answer, (near.node(), "near".to_owned(), true));
    assert_eq!((client.peer().id, client.peer_hello()), (far.node(), b"far".as_slice()));
}

#[tokio::test]
async fn an_unknown_path_is_answered_and_the_connection_lives() {
    let (client, _tasks) = running(router()).await;
    let error = client.unary::<_, u32>("/nowhere", &1_u32, SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "not found: no handler for /nowhere");
    // With a question larger than the window, which nobody reads.
    let large = vec![7_u8; 3 << 20];
    let error = client.unary::<_, u32>("/nowhere", &large, SOON).await.unwrap_err();
    assert_eq!(code(&error), Code::NotFound);
    let mut items: Receiving<u32> = client.server_stream("/nowhere", &1_u32).await.unwrap();
    assert_eq!(code(&items.next().await.unwrap_err()), Code::NotFound);
    let error = client.tunnel("/nowhere", &1_u32, SOON).await.unwrap_err();
    assert_eq!(code(&error), Code::NotFound);
    assert_eq!(client.unary::<_, u32>("/double", &1_u32, SOON).await.unwrap(), 2);
}

#[tokio::test]
async fn a_question_or_answer_of_another_type_is_named() {
    let (client, _tasks) = running(router()).await;
    let error = client.unary::<_, u32>("/double", &"text", SOON).await.unwrap_err();
    assert_eq!(code(&error), Code::Invalid);
    let error = client.unary::<_, String>("/double", &1_u32, SOON).await.unwrap_err();
    assert!(matches!(error, RpcError::Malformed { .. }), "{error:?}");
    let error = client.unary::<_, u32>("no slash", &1_u32, SOON).await.unwrap_err();
    assert!(matches!(error, RpcError::Unsendable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_stream_gives_its_items_and_then_how_it_ended() {
    let (client, _tasks) = running(router()).await;
    for n in [0_u32, 1, 1000] {
        let mut items: Receiving<u32> = client.server_stream("/count", &n).await.unwrap();
        for i in 0..n {
            assert_eq!(items.next().await.unwrap(), Some(i));
        }
        assert_eq!(items.next().await.unwrap(), None);
        assert_eq!(items.next().await.unwrap(), None);
    }
    let mut items: Receiving<u32> = client.server_stream("/count", &13_u32).await.unwrap();
    for i in 0..13 {
        assert_eq!(items.next().await.unwrap(), Some(i));
    }
    assert_eq!(items.next().await.unwrap_err().to_string(), "unavailable: out of luck");
}

#[tokio::test]
async fn a_tunnel_carries_64_mib_both_ways_and_each_way_has_its_end() {
    const TOTAL: usize = 64 << 20;
    let (client, _tasks) = running(router()).await;
    let tunnel = client.tunnel("/echo", &"open", SOON).await.unwrap();
    let (mut read, mut write) = tokio::io::split(tunnel);
    let block: Vec<u8> =
        (0..1 << 16).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let expected = block.clone();
    let writing = async move {
        for _ in 0..TOTAL / block.len() {
            write.write_all(&block).await.unwrap();
        }
        write.shutdown().await.unwrap();
    };
    let reading = async move {
        let mut got = vec![0; expected.len()];
        for _ in 0..TOTAL / expected.len() {
            read.read_exact(&mut got).await.unwrap();
            assert!(got == expected);
        }
        assert_eq!(read.read(&mut got).await.unwrap(), 0);
    };
    tokio::join!(writing, reading);
}

#[tokio::test]
async fn a_refused_tunnel_says_why() {
    let (client, _tasks) = running(router()).await;
    let error = client.tunnel("/echo", &"please", SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "denied: please is not the word");
}

#[tokio::test]
async fn a_dropped_tunnel_reads_as_an_error_and_a_finished_one_as_an_end() {
    let speak = |_: Context, ends: bool, offer: Offer| async move {
        let mut tunnel = offer.accept()?;
        tunnel.write_all(b"said").await.map_err(|e| Status::internal(e.to_string()))?;
        // A reset overtakes what is still queued, so wait until it was heard.
        tunnel.read_u8().await.map_err(|e| Status::internal(e.to_string()))?;
        if ends {
            tunnel.shutdown().await.map_err(|e| Status::internal(e.to_string()))?;
        }
        Ok(())
    };
    let (client, _tasks) = running(Router::new().tunnel("/speak", speak)).await;
    for ends in [true, false] {
        let mut tunnel = client.tunnel("/speak", &ends, SOON).await.unwrap();
        let mut said = [0; 4];
        tunnel.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"said");
        tunnel.write_u8(1).await.unwrap();
        let end = tunnel.read(&mut said).await.map_err(|error| error.kind());
        let reset = Err(std::io::ErrorKind::ConnectionReset);
        assert_eq!(end, if ends { Ok(0) } else { reset });
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_the_handler() {
    let stuck = Stuck::default();
    let handler = stuck.clone();
    let router = Router::new().unary("/stuck", move |_: Context, (): ()| handler.hold());
    let (client, _tasks) = running(router).await;
    let error = client.unary::<_, u8>("/stuck", &(), Duration::from_secs(1)).await.unwrap_err();
    // Both sides watch the same instant, and either may be first to say so.
    let late = error.status().is_some_and(|status| status.code == Code::Timeout);
    assert!(late || matches!(error, RpcError::Deadline { .. }), "{error:?}");
    Stuck::until(&stuck.dropped, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_server_has_a_deadline_of_its_own() {
    let stuck = Stuck::default();
    let handler = stuck.clone();
    let router = Router::new().unary("/stuck", move |_: Context, (): ()| handler.hold());
    let (near, far) = pair().await.unwrap();
    let (client, driver) = client(near, Options::control()).await.unwrap();
    let limits = Limits { deadline_max: Duration::from_secs(1), ..Limits::control() };
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    tasks.spawn(serve(far, router.into(), limits, CancellationToken::new()));
    let error = client.unary::<_, u8>("/stuck", &(), SOON).await.unwrap_err();
    assert_eq!(code(&error), Code::Timeout);
    assert_eq!(stuck.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_takes_its_handler_along() {
    let stuck = Stuck::default();
    let (a, b, c) = (stuck.clone(), stuck.clone(), stuck.clone());
    let router = Router::new()
        .unary("/unary", move |_: Context, (): ()| a.hold())
        .stream("/stream", move |_: Context, (): (), _out: Sending<u8>| {
            let held = b.hold();
            async move { held.await.map(|_| ()) }
        })
        .tunnel("/tunnel", move |_: Context, (): (), _offer: Offer| {
            let held = c.hold();
            async move { held.await.map(|_| ()) }
        });
    let (client, _tasks) = running(router).await;

    let mut calls = JoinSet::new();
    let caller = client.clone();
    calls.spawn(async move { caller.unary::<_, u8>("/unary", &(), SOON).await.map(drop) });
    let caller = client.clone();
    calls.spawn(async move { caller.tunnel("/tunnel", &(), SOON).await.map(drop) });
    let stream: Receiving<u8> = client.server_stream("/stream", &()).await.unwrap();
    Stuck::until(&stuck.begun, 3).await;
    assert_eq!(stuck.dropped.load(Ordering::SeqCst), 0);
    calls.shutdown().await;
    Stuck::until(&stuck.dropped, 2).await;
    drop(stream);
    Stuck::until(&stuck.dropped, 3).await;
    assert!(!client.is_closed());
}

#[tokio::test]
async fn a_handler_that_panics_takes_nothing_else_along() {
    let router = router().unary("/panic", |_: Context, n: u8| async move {
        assert_ne!(n, 13, "on purpose");
        Ok(n)
    });
    let (client, _tasks) = running(router).await;
    let error = client.unary::<_, u8>("/panic", &13_u8, SOON).await.unwrap_err();
    assert!(matches!(error, RpcError::Transport { .. }), "{error:?}");
    assert_eq!(client.unary::<_, u32>("/double", &4_u32, SOON).await.unwrap(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_server_finishes_what_is_under_way() {
    let slow = |_: Context, seconds: u64| async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(seconds)
    };
    let (near, far) = pair().await.unwrap();
    let (client, driver) = client(near, Options::control()).await.unwrap();
    let stop = CancellationToken::new();
    let router = Router::new().unary("/slow", slow);
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    tasks.spawn(serve(far, router.into(), Limits::control(), stop.clone()));
    let mut calls = JoinSet::new();
    for seconds in [1_u64, 100] {
        let client = client.clone();
        let minute = Duration::from_secs(60);
        calls.spawn(async move { client.unary::<_, u64>("/slow", &seconds, minute).await });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.cancel();
    let first = calls.join_next().await.unwrap().unwrap();
    assert_eq!(first.unwrap(), 1);
    let error = client.unary::<_, u64>("/slow", &1_u64, SOON).await.unwrap_err();
    assert!(matches!(error, RpcError::Closed { .. }), "{error:?}");
    let second = calls.join_next().await.unwrap().unwrap();
    assert!(matches!(second, Err(RpcError::Transport { .. })), "{second:?}");
    client.closed().await;
    while tasks.join_next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_noticed_by_both_sides() {
    let (near, far) = pair().await.unwrap();
    let (client, driver) = client(near, Options::control()).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    // The far end is open, and nobody reads from it.
    let call = client.unary::<_, u8>("/any", &(), Duration::from_secs(600)).await;
    assert!(matches!(call, Err(RpcError::Transport { .. })), "{call:?}");
    client.closed().await;
    drop(far);

    let (near, far) = pair().await.unwrap();
    let (_client, _driver_that_nobody_runs) =
        crate::stream::client(near, Options::control()).await.unwrap();
    serve(far, Router::new().into(), Limits::control(), CancellationToken::new()).await;
}

#[tokio::test(start_paused = true)]
async fn old_keys_are_renewed_by_a_new_connection() {
    let (client, _tasks) = running(router()).await;
    assert!(!client.should_renew());
    tokio::time::sleep(Duration::from_secs(3601)).await;
    assert!(client.should_renew() && !client.is_closed());
    assert_eq!(client.unary::<_, u32>("/double", &4_u32, SOON).await.unwrap(), 8);
    // A client that does not renew is told to.
    client.closed().await;
    let error = client.unary::<_, u32>("/double", &4_u32, SOON).await.unwrap_err();
    assert!(matches!(error, RpcError::Closed { .. }), "{error:?}");
}

#[tokio::test]
async fn the_connection_ends_with_its_last_client() {
    let (client, mut tasks) = running(router()).await;
    let tunnel = client.tunnel("/echo", &"open", SOON).await.unwrap();
    drop(client);
    assert!(tasks.try_join_next().is_none());
    drop(tunnel);
    tasks.join_next().await.unwrap().unwrap();
}
