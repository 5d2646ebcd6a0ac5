//! What arrives is what was sent, in order, to its end; anything else is an error.

use std::io::Cursor;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::stream::testing::pair;

impl<IO> NoiseStream<IO> {
    /// The same session on another pipe.
    fn on<Other>(self, io: Other) -> NoiseStream<Other> {
        let Self { peer, peer_hello, remote, transport, sealer, opener, age, broken, .. } = self;
        NoiseStream { io, peer, peer_hello, remote, transport, sealer, opener, age, broken }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

type Recorded = Cursor<Vec<u8>>;

/// What one side writes for these pieces, each flushed, and the end marker; and who can read it.
async fn record(pieces: &[Vec<u8>]) -> (Vec<u8>, NoiseStream<Recorded>) {
    let (near, far) = pair().await.unwrap();
    let mut near = near.on(Cursor::new(Vec::new()));
    for piece in pieces {
        near.write_all(piece).await.unwrap();
        near.flush().await.unwrap();
    }
    near.shutdown().await.unwrap();
    (near.io.into_inner(), far.on(Cursor::new(Vec::new())))
}

async fn replay(reader: NoiseStream<Recorded>, bytes: Vec<u8>) -> (Vec<u8>, io::Result<usize>) {
    let mut reader = reader.on(Cursor::new(bytes));
    let mut got = Vec::new();
    let outcome = reader.read_to_end(&mut got).await;
    if outcome.is_err() {
        assert!(reader.read_u8().await.is_err(), "a broken stream stays broken");
        assert!(reader.write_all(b"x").await.is_err());
    }
    (got, outcome)
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let length = prop_oneof![0..40_usize, 65_500..65_540_usize, 0..300_000_usize];
    let piece = (length, any::<u8>()).prop_map(|(n, seed)| {
        (0..n).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
    });
    proptest::collection::vec(piece, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_written_is_read(pieces in pieces()) {
        let (got, outcome) = block_on(async {
            let (bytes, reader) = record(&pieces).await;
            replay(reader, bytes).await
        });
        prop_assert!(outcome.is_ok(), "{outcome:?}");
        prop_assert!(got == pieces.concat());
    }

    #[test]
    fn a_cut_is_never_an_end(pieces in pieces(), at: prop::sample::Index) {
        let (got, outcome) = block_on(async {
            let (mut bytes, reader) = record(&pieces).await;
            bytes.truncate(at.index(bytes.len()));
            replay(reader, bytes).await
        });
        prop_assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        prop_assert!(pieces.concat().starts_with(&got));
    }

    #[test]
    fn a_flipped_bit_kills_the_stream(pieces in pieces(), at: prop::sample::Index, bit in 0..8_u32) {
        let (got, outcome) = block_on(async {
            let (mut bytes, reader) = record(&pieces).await;
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            replay(reader, bytes).await
        });
        prop_assert!(outcome.is_err());
        prop_assert!(pieces.concat().starts_with(&got));
    }
}

#[tokio::test]
async fn records_do_not_move_and_do_not_repeat() {
    let pieces = [b"one".to_vec(), b"two".to_vec()];
    let record_bytes = LENGTH_BYTES + 3 + TAG_BYTES;
    let (bytes, reader) = record(&pieces).await;
    let (one, rest) = bytes.split_at(record_bytes);
    let (two, end) = rest.split_at(record_bytes);
    let (got, outcome) = replay(reader, [two, one, end].concat()).await;
    assert!(got.is_empty() && outcome.is_err());

    let (bytes, reader) = record(&pieces).await;
    let one = &bytes[..record_bytes];
    let (got, outcome) = replay(reader, [one, one].concat()).await;
    assert!(got == b"one" && outcome.is_err());
}

#[tokio::test]
async fn an_empty_record_without_a_tag_is_no_end() {
    let (_, reader) = record(&[]).await;
    let (got, outcome) = replay(reader, vec![0, 0]).await;
    assert!(got.is_empty());
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn small_writes_are_collected_until_the_flush() {
    let (near, _far) = pair().await.unwrap();
    let mut near = near.on(Cursor::new(Vec::new()));
    for _ in 0..100 {
        near.write_all(b"ten bytes.").await.unwrap();
    }
    assert!(near.io.get_ref().is_empty());
    near.flush().await.unwrap();
    assert_eq!(near.io.get_ref().len(), LENGTH_BYTES + 1000 + TAG_BYTES);
}

#[tokio::test]
async fn a_reader_that_does_not_read_stalls_the_writer() {
    let (mut near, far) = pair().await.unwrap();
    let block = vec![7; 64 << 10];
    let mut written = 0;
    let stalled = loop {
        tokio::select! {
            biased;
            n = near.write(&block) => written += n.unwrap(),
            () = tokio::task::yield_now() => break true,
        }
        if 10 << 20 < written {
            break false;
        }
    };
    // The pipe's 64 KiB, ours of 128 and one record that is being collected.
    assert!(stalled && written <= (64 << 10) * 4, "{written}");
    drop(far);
}

#[tokio::test]
async fn used_up_keys_refuse_to_go_on() {
    let (mut near, mut far) = pair().await.unwrap();
    near.sealer.n_records = RECORDS_MAX;
    far.opener.n_records = RECORDS_MAX;
    near.write_all(b"fine").await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(far.read_u32().await.unwrap(), u32::from_be_bytes(*b"fine"));
    assert!(near.should_renew() && far.should_renew());
    near.sealer.n_records = RECORDS_LIMIT;
    near.write_all(b"more").await.unwrap();
    assert!(near.flush().await.is_err());
}
