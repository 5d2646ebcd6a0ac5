//! The answering side: one connection, its calls in one `JoinSet`.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_fn;
use h2::server::{Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span};

use super::client::DEADLINE_HEADER;
use super::frame::{self, FrameError, FrameReader};
use super::keepalive::{Lost, keepalive};
use super::noise::NoiseStream;
use super::offer::{Offer, Seat};
use super::router::{Boxed, Context, Route, Router, StreamHandler, TunnelHandler};
use super::sending::ITEMS;
use super::session::{Pipe, Session, Who};
use super::settings::{self, Limits};
use super::status::{Code, Status};

/// For the peer's preface: it follows the Noise handshake at once.
const PREFACE_DEADLINE: Duration = Duration::from_secs(3);

/// For a whole question to arrive, if its caller named no deadline.
const QUESTION_DEADLINE: Duration = Duration::from_secs(10);

/// How long after a client should have renewed the connection the server ends it.
const RENEWAL_GRACE: Duration = Duration::from_secs(600);

/// Answers the calls of one connection until it ends or `stop` does.
///
/// After `stop` no new call is taken, and those under way have [`Limits::drain`] to finish.
/// Handlers run inside this future: dropping it drops them.
pub async fn serve<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: NoiseStream<IO>,
    router: Arc<Router>,
    limits: Limits,
    stop: CancellationToken,
) {
    serve_session(stream.into(), router, limits, stop).await;
}

pub(super) async fn serve_session(
    session: Session,
    router: Arc<Router>,
    limits: Limits,
    stop: CancellationToken,
) {
    let Session { pipe, who, age } = session;
    let handshake = builder(&limits).handshake(pipe);
    let connection = match timeout(PREFACE_DEADLINE, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return log_broken(&who, &error),
        Err(_elapsed) => return debug!(peer.id = %who.peer.id, "peer opened no multiplexer"),
    };
    let renew_at = age.renew_at() + RENEWAL_GRACE;
    let shared = Arc::new(Shared {
        questions: Semaphore::new(limits.question_bytes_max),
        router,
        limits,
        who: Arc::clone(&who),
    });
    let phase = Phase::Open { renew_at };
    let serving = Serving { connection, shared, calls: JoinSet::new(), phase };
    let span = info_span!("channel", peer.id = %who.peer.id);
    serving.run(stop).instrument(span).await;
}

fn builder(limits: &Limits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(limits.windows.stream_bytes)
        .initial_connection_window_size(limits.windows.connection_bytes)
        .max_frame_size(settings::FRAME_BYTES_MAX)
        .max_header_list_size(settings::HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(limits.calls_max)
        .max_concurrent_reset_streams(settings::CANCELLED_MAX)
        .reset_stream_duration(settings::CANCELLED_MEMORY)
        .max_pending_accept_reset_streams(settings::CANCELLED_UNSEEN_MAX)
        .max_local_error_reset_streams(Some(settings::LATE_FRAMES_MAX))
        .data_frame_budget(settings::SMALL_FRAMES_BUDGET_BYTES);
    builder
}

fn log_broken(who: &Who, error: &h2::Error) {
    let error: &(dyn Error + 'static) = error;
    debug!(peer.id = %who.peer.id, error, "connection broke");
}

/// What all calls of a connection share.
struct Shared {
    router: Arc<Router>,
    limits: Limits,
    who: Arc<Who>,
    /// One permit for each byte of a question.
    questions: Semaphore,
}

struct Serving {
    connection: Connection<Box<dyn Pipe>, Bytes>,
    shared: Arc<Shared>,
    calls: JoinSet<()>,
    phase: Phase,
}

/// A connection takes new calls, or only finishes those under way.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Until its keys are old.
    Open { renew_at: Instant },
    /// The client was told to open another one.
    Renewing { until: Instant },
    /// This node is going.
    Stopping { until: Instant },
}

/// Everything that can happen to a connection.
enum Event {
    Call(Box<Request<RecvStream>>, SendResponse<Bytes>),
    Finished(Result<(), tokio::task::JoinError>),
    Stop,
    Renew,
    Over,
}

impl Serving {
    async fn run(mut self, stop: CancellationToken) {
        let ping_pong = self.connection.ping_pong();
        let pulse = keepalive(ping_pong, self.shared.limits.pulse);
        tokio::pin!(pulse);
        let mut watching = true;
        loop {
            let event = tokio::select! {
                event = self.next(&stop) => event,
                lost = &mut pulse, if watching => match lost {
                    Lost::Ended => { watching = false; continue }
                    Lost::Silent { waited } => {
                        debug!(?waited, "peer answered no ping");
                        Event::Over
                    }
                },
            };
            if let Event::Over = event {
                return;
            }
            self.apply(event);
        }
    }

    async fn next(&mut self, stop: &CancellationToken) -> Event {
        let (running, at, then) = match self.phase {
            Phase::Open { renew_at } => (true, renew_at, Event::Renew),
            Phase::Renewing { until } => (true, until, Event::Over),
            Phase::Stopping { until } => (false, until, Event::Over),
        };
        let calls_max = usize::try_from(self.shared.limits.calls_max).unwrap_or(usize::MAX);
        let enough = calls_max <= self.calls.len();
        tokio::select! {
            () = stop.cancelled(), if running => Event::Stop,
            accepted = next_call(&mut self.connection, enough) => match accepted {
                Some(Ok((request, respond))) => Event::Call(Box::new(request), respond),
                Some(Err(error)) => {
                    log_broken(&self.shared.who, &error);
                    Event::Over
                }
                None => Event::Over,
            },
            Some(finished) = self.calls.join_next() => Event::Finished(finished),
            () = sleep_until(at) => then,
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Call(request, respond) => self.start(*request, respond),
            Event::Finished(Ok(())) | Event::Over => {}
            Event::Finished(Err(error)) => {
                let error: &(dyn Error + 'static) = &error;
                error!(error, "handler panicked");
            }
            Event::Stop => {
                self.connection.graceful_shutdown();
                let until = Instant::now() + self.shared.limits.drain;
                self.phase = Phase::Stopping { until };
            }
            Event::Renew => {
                self.connection.graceful_shutdown();
                let until = Instant::now() + settings::CALL_AGE_MAX;
                self.phase = Phase::Renewing { until };
            }
        }
    }

    fn start(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let call = answer(Arc::clone(&self.shared), request, respond);
        self.calls.spawn(call.in_current_span());
    }
}

/// The next call; while there are enough, only moves the bytes of those.
///
/// h2 counts open streams, but the handler of one that was reset may not have gone yet. What waits
/// meanwhile is bounded by h2.
async fn next_call(
    connection: &mut Connection<Box<dyn Pipe>, Bytes>,
    enough: bool,
) -> Option<Result<(Request<RecvStream>, SendResponse<Bytes>), h2::Error>> {
    if enough {
        poll_fn(|cx| connection.poll_closed(cx)).await.err().map(Err)
    } else {
        connection.accept().await
    }
}

/// One call from its question to the end of its answer.
async fn answer(
    shared: Arc<Shared>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (head, body) = request.into_parts();
    let Some(route) = shared.router.find(head.uri.path()) else {
        let status = Status::not_found(format!("no handler for {}", head.uri.path()));
        return refuse(&mut respond, &status);
    };
    let deadline =
        head.headers.get(DEADLINE_HEADER).and_then(|value| value.to_str().ok()?.parse().ok()).map(
            |left| Instant::now() + Duration::from_millis(left).min(shared.limits.deadline_max),
        );
    let arrive_by = deadline.unwrap_or_else(|| Instant::now() + QUESTION_DEADLINE);
    let mut frames = FrameReader::new(body);
    let question = timeout_at(
        arrive_by,
        question(&mut frames, &shared.questions, shared.limits.question_bytes_max),
    );
    let question = until_gone(&mut respond, question).await;
    let (question, permit) = match question {
        None => return,
        Some(Ok(Ok(question))) => question,
        Some(Ok(Err(status))) => return refuse(&mut respond, &status),
        Some(Err(_elapsed)) => return refuse(&mut respond, &late()),
    };
    let who = &shared.who;
    let context = Context {
        peer: who.peer.clone(),
        peer_hello: Arc::clone(&who.hello),
        remote: who.remote,
        deadline,
    };
    match route {
        Route::Unary(handler) => {
            let latest = deadline.unwrap_or_else(|| Instant::now() + shared.limits.deadline_max);
            let handler = handler(context, question);
            unary(handler, latest, permit, respond).await;
        }
        Route::Stream(handler) => {
            drop(permit);
            stream(handler, context, question, respond).await;
        }
        Route::Tunnel(handler) => {
            drop(permit);
            tunnel(handler, context, question, Seat::new(respond, frames)).await;
        }
    }
}

/// Reads the question once there is room for it.
async fn question<'a>(
    frames: &mut FrameReader,
    room: &'a Semaphore,
    room_max: usize,
) -> Result<(Bytes, SemaphorePermit<'a>), Status> {
    let length = frames.length().await.and_then(|length| length.ok_or(FrameError::Truncated));
    let length = length.map_err(|error| unreadable(&error))?;
    let permits = u32::try_from(length.min(room_max)).unwrap_or(u32::MAX);
    let permit = room.acquire_many(permits).await.map_err(|_| late())?;
    let body = frames.body(length).await.map_err(|error| unreadable(&error))?;
    Ok((body, permit))
}

fn unreadable(error: &FrameError) -> Status {
    Status::invalid(format!("the question cannot be read: {error}"))
}

fn late() -> Status {
    Status::new(Code::Timeout, "the deadline has passed")
}

async fn unary(
    handler: Boxed<Bytes>,
    deadline: Instant,
    permit: SemaphorePermit<'_>,
    mut respond: SendResponse<Bytes>,
) {
    let outcome = until_gone(&mut respond, timeout_at(deadline, handler)).await;
    drop(permit);
    match outcome {
        None => debug!("caller gave up"),
        Some(Err(_elapsed)) => refuse(&mut respond, &late()),
        Some(Ok(answer)) => {
            let Ok(mut send) = respond.send_response(head(), false) else { return };
            // A caller that does not read its answer is not waited for beyond its deadline;
            // dropping `send` then resets the stream.
            let _ = timeout_at(deadline, frame::send_all(&mut send, answer, true)).await;
        }
    }
}

async fn stream(
    handler: &StreamHandler,
    context: Context,
    question: Bytes,
    mut respond: SendResponse<Bytes>,
) {
    let Ok(mut send) = respond.send_response(head(), false) else { return };
    let (items_sender, items) = mpsc::channel(ITEMS);
    // Held until the handler has ended, so that the pump watches for a reset that long.
    let until_ended = items_sender.clone();
    let handler = handler(context, question, items_sender);
    let work = async {
        let outcome = handler.await;
        drop(until_ended);
        Ok(outcome)
    };
    match tokio::try_join!(work, pump(&mut send, items)) {
        Ok((outcome, ())) => {
            let last = frame::answer(outcome.map(|()| None::<()>));
            // Small, so it may wait for the window inside h2. A caller that is gone needs no end.
            drop(send.send_data(last, true));
        }
        Err(_reset) => debug!("caller gave up"),
    }
}

/// Sends items until there are no more, or nobody listens.
async fn pump(
    send: &mut SendStream<Bytes>,
    mut items: mpsc::Receiver<Bytes>,
) -> Result<(), h2::Error> {
    loop {
        let item = tokio::select! {
            reset = poll_fn(|cx| send.poll_reset(cx)) => return Err(reset?.into()),
            item = items.recv() => item,
        };
        match item {
            Some(item) => frame::send_all(send, item, false).await?,
            None => return Ok(()),
        }
    }
}

async fn tunnel(handler: &TunnelHandler, context: Context, question: Bytes, seat: Seat) {
    let handler = handler(context, question, Offer::new(seat.clone()));
    let outcome = tokio::select! {
        outcome = handler => outcome,
        () = poll_fn(|cx| seat.poll_gone(cx)) => return debug!("caller gave up"),
    };
    match (seat.take(), outcome) {
        (None, Ok(())) => {}
        (None, Err(status)) => debug!(%status, "tunnel ended"),
        (Some((mut respond, _frames)), outcome) => {
            let never = Status::internal("the tunnel was never accepted");
            refuse(&mut respond, &outcome.err().unwrap_or(never).cut());
        }
    }
}

/// Runs `work` unless the caller gives up first; only before the answer has begun.
async fn until_gone<T>(
    respond: &mut SendResponse<Bytes>,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        _gone = poll_fn(|cx| respond.poll_reset(cx)) => None,
        done = work => Some(done),
    }
}

/// Answers with a status. It is small enough not to wait for the window.
fn refuse(respond: &mut SendResponse<Bytes>, status: &Status) {
    if let Ok(mut send) = respond.send_response(head(), false) {
        // A caller that is gone needs no answer.
        drop(send.send_data(frame::refusal(status), true));
    }
}

/// The head of every answer; success and failure are told by the first message.
pub(super) fn head() -> Response<()> {
    Response::new(())
}
