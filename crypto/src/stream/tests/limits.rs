//! What a peer can cost us, and one call another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use http::{Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Stuck, running};
use crate::stream::frame::{FrameReader, read_answer};
use crate::stream::testing::pair;
use crate::stream::{
    Code, Context, Limits, MESSAGE_BYTES_MAX, Offer, Options, Receiving, Router, RpcError, Sending,
    Status, client, serve,
};

const SOON: Duration = Duration::from_secs(10);
const ITEM_BYTES: usize = 16 << 10;
const WINDOW_BYTES: usize = 256 << 10;

/// Sends items as long as somebody reads and counts them.
fn firehose(sent: &Arc<AtomicUsize>) -> Router {
    let sent = Arc::clone(sent);
    let handler = move |_: Context, (): (), mut out: Sending<String>| {
        let sent = Arc::clone(&sent);
        async move {
            let item = "x".repeat(ITEM_BYTES);
            loop {
                out.send(&item).await?;
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    Router::new().stream("/firehose", handler).unary("/ping", |_: Context, (): ()| async { Ok(()) })
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_stalls_its_writer_and_nobody_else() {
    let sent = Arc::new(AtomicUsize::new(0));
    let (client, _tasks) = running(firehose(&sent)).await;
    let mut items: Receiving<String> = client.server_stream("/firehose", &()).await.unwrap();
    // Paused time moves only when nobody can run: then the writer is stalled.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stalled_at = sent.load(Ordering::SeqCst);
    // The window, what waits in h2's own queue is part of it, and two items in our hands.
    let most = WINDOW_BYTES / ITEM_BYTES + 3;
    assert!((WINDOW_BYTES / ITEM_BYTES - 1..=most).contains(&stalled_at), "{stalled_at}");
    client.unary::<_, ()>("/ping", &(), Duration::from_secs(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sent.load(Ordering::SeqCst), stalled_at);
    for _ in 0..100 {
        assert_eq!(items.next().await.unwrap().unwrap().len(), ITEM_BYTES);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stalled_at + 90 < sent.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn thirty_stalled_streams_do_not_hold_up_a_call() {
    let sent = Arc::new(AtomicUsize::new(0));
    let (client, _tasks) = running(firehose(&sent)).await;
    let mut stalled: Vec<Receiving<String>> = Vec::new();
    for _ in 0..30 {
        stalled.push(client.server_stream("/firehose", &()).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.unary::<_, ()>("/ping", &(), Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_of_single_bytes_that_nobody_reads_stalls_and_ends_nothing() {
    let deaf = |_: Context, (): (), offer: Offer| async move {
        let tunnel = offer.accept()?;
        std::future::pending::<()>().await;
        drop(tunnel);
        Ok(())
    };
    let router = firehose(&Arc::default()).tunnel("/deaf", deaf);
    let (client, _tasks) = running(router).await;
    let mut tunnel = client.tunnel("/deaf", &(), SOON).await.unwrap();
    for _ in 0..50_000 {
        tunnel.write_all(b"x").await.unwrap();
    }
    client.unary::<_, ()>("/ping", &(), SOON).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_cancelled_calls_leave_the_connection_alone() {
    let stuck = Stuck::default();
    let handler = stuck.clone();
    let sent = Arc::default();
    let router = firehose(&sent).unary("/stuck", move |_: Context, (): ()| handler.hold());
    let (client, _tasks) = running(router).await;
    for round in 1..=2 {
        let mut calls = JoinSet::new();
        for n in 0..200 {
            let client = client.clone();
            calls.spawn(async move {
                if n % 2 == 0 {
                    client.unary::<_, u8>("/stuck", &(), SOON).await.map(drop)
                } else {
                    let items = client.server_stream::<_, String>("/firehose", &()).await;
                    // Cut while a window of items is on its way.
                    items?.next().await?;
                    std::future::pending().await
                }
            });
        }
        Stuck::until(&stuck.begun, round * 100).await;
        calls.shutdown().await;
        Stuck::until(&stuck.dropped, round * 100).await;
    }
    client.unary::<_, ()>("/ping", &(), SOON).await.unwrap();
}

#[tokio::test]
async fn calls_that_are_dropped_before_anybody_saw_them_leave_the_connection_alone() {
    let (client, _tasks) = running(firehose(&Arc::default())).await;
    for _ in 0..2000 {
        let call = client.unary::<_, ()>("/ping", &(), SOON);
        assert!(call.now_or_never().is_none());
    }
    // More than may be open at once, so one behind them may be refused, but not for long.
    let behind = client.unary::<_, ()>("/ping", &(), SOON).await;
    assert!(matches!(behind, Ok(()) | Err(RpcError::Closed { .. })), "{behind:?}");
    client.unary::<_, ()>("/ping", &(), SOON).await.unwrap();
}

#[tokio::test]
async fn a_message_may_have_4_mib_and_not_one_byte_more() {
    // Envelope 4, length of the vector 5; an answer has one byte more for Ok.
    let largest = MESSAGE_BYTES_MAX - 9;
    let router = Router::new()
        .unary("/length", |_: Context, bytes: Vec<u8>| async move { Ok(bytes.len() as u64) })
        .unary("/make", |_: Context, n: u64| async move { Ok(vec![7_u8; n as usize]) });
    let (client, _tasks) = running(router).await;
    let length = client.unary::<_, u64>("/length", &vec![7_u8; largest], SOON).await.unwrap();
    assert_eq!(length, largest as u64);
    let error = client.unary::<_, u64>("/length", &vec![7_u8; largest + 1], SOON).await;
    let limit = MESSAGE_BYTES_MAX;
    assert!(
        matches!(error, Err(RpcError::TooLarge { bytes, limit: l, .. }) if (bytes, l) == (limit + 1, limit)),
        "{error:?}"
    );
    let made: Vec<u8> = client.unary("/make", &(largest as u64 - 1), SOON).await.unwrap();
    assert_eq!(made.len(), largest - 1);
    let error = client.unary::<_, Vec<u8>>("/make", &(largest as u64), SOON).await.unwrap_err();
    assert_eq!(error.status().unwrap().code, Code::Internal);
}

fn oversized() -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(MESSAGE_BYTES_MAX).unwrap() + 1);
    frame.put_bytes(7, 100);
    frame.freeze()
}

#[tokio::test]
async fn a_server_refuses_a_question_that_announces_too_much() {
    let (near, far) = pair().await.unwrap();
    let router = Router::new().unary("/any", |_: Context, (): ()| async { Ok(()) });
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(far, router.into(), Limits::control(), CancellationToken::new()));
    let (send, connection) = h2::client::handshake(near).await.unwrap();
    tasks.spawn(async move { connection.await.unwrap() });
    let mut send = send.ready().await.unwrap();
    let request = Request::builder().method(Method::POST).uri("http://skep/any").body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    body.send_data(oversized(), false).unwrap();
    let mut frames = FrameReader::new(response.await.unwrap().into_body());
    let answer = frames.next().await.unwrap().unwrap();
    let error = read_answer::<()>("/any", &answer).unwrap_err();
    assert_eq!(error.status().unwrap().code, Code::Invalid);
}

#[tokio::test]
async fn a_client_refuses_an_answer_that_announces_too_much() {
    let (near, far) = pair().await.unwrap();
    let (client, driver) = client(near, Options::control()).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    tasks.spawn(async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        while let Some(accepted) = connection.accept().await {
            let (_request, mut respond) = accepted.unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(oversized(), true).unwrap();
        }
    });
    let error = client.unary::<_, ()>("/any", &(), SOON).await.unwrap_err();
    assert!(matches!(error, RpcError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn large_questions_take_turns() {
    let at_once = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&at_once);
    let handler = move |_: Context, bytes: Vec<u8>| {
        let seen = Arc::clone(&seen);
        async move {
            let others = seen.fetch_add(1, Ordering::SeqCst);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            seen.fetch_sub(1, Ordering::SeqCst);
            if 2 < others + 1 { Err(Status::internal("three at once")) } else { Ok(bytes.len()) }
        }
    };
    let (near, far) = pair().await.unwrap();
    let (client, driver) = client(near, Options::control()).await.unwrap();
    let limits = Limits { question_bytes_max: 250_000, ..Limits::control() };
    let router = Router::new().unary("/keep", handler);
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    tasks.spawn(serve(far, router.into(), limits, CancellationToken::new()));
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        calls.spawn(async move {
            client.unary::<_, usize>("/keep", &vec![1_u8; 100_000], 6 * SOON).await.unwrap()
        });
    }
    // And one that is larger than the whole allowance.
    let whole = client.unary::<_, usize>("/keep", &vec![1_u8; 300_000], 6 * SOON).await;
    assert_eq!(whole.unwrap(), 300_000);
    assert_eq!(calls.join_all().await, vec![100_000; 20]);
}

#[tokio::test]
async fn a_tunnel_that_is_cut_with_its_connection_is_no_end() {
    let hold = |_: Context, (): (), offer: Offer| async move {
        let _tunnel = offer.accept()?;
        std::future::pending::<()>().await;
        Ok(())
    };
    let (client, mut tasks) = running(Router::new().tunnel("/hold", hold)).await;
    let mut tunnel = client.tunnel("/hold", &(), SOON).await.unwrap();
    tasks.shutdown().await;
    assert!(tunnel.read_to_end(&mut Vec::new()).await.is_err());
    assert!(client.is_closed());
}
