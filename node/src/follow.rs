//! The agent's side of the leader: assignments in, reports out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crypto::stream::Client;
use model::{TaskId, TaskStatus};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::assignments::files_needed;
use crate::leadership::Leadership;
use crate::messages::{
    ASSIGNMENTS, Assignments, AssignmentsPart, AssignmentsRequest, REPORT, ReportAnswer,
    ReportRequest,
};
use crate::peers::{Link, Peers};

/// A leader that cannot be reached is tried again after this.
const RETRY: Duration = Duration::from_millis(200);

/// The leader repeats itself every 10 s; one that is silent for longer is gone.
const SILENCE: Duration = Duration::from_secs(25);

/// A report and its commit.
const DEADLINE: Duration = Duration::from_secs(4);

/// Statuses of tasks that start together travel together.
const GATHER: Duration = Duration::from_millis(10);

/// Statuses in one report, well below a message's limit of bytes.
const STATUSES_MAX: usize = 1_000;

/// What both loops need.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    pub(crate) peers: Peers,
    pub(crate) leadership: Leadership,
    pub(crate) incarnation: u64,
    /// Whether a leader tells us what to do right now.
    pub(crate) following: watch::Sender<bool>,
}

impl Follower {
    /// Fetches assignments from whoever leads. `None` until the first leader was heard.
    pub(crate) async fn assignments(
        self,
        published: watch::Sender<Option<Arc<Assignments>>>,
        stop: CancellationToken,
    ) {
        let mut leader = self.leadership.watch();
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow_one(&published) => followed,
                changed = leader.changed() => {
                    self.following.send_replace(false);
                    if changed.is_err() { return; }
                    continue;
                }
            };
            self.following.send_replace(false);
            if let Err(why) = followed {
                debug!(why, "assignments interrupted");
                self.leadership.doubt();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RETRY) => {}
            }
        }
    }

    async fn follow_one(
        &self,
        published: &watch::Sender<Option<Arc<Assignments>>>,
    ) -> Result<(), String> {
        let client = self.leader().await?;
        let request = AssignmentsRequest { incarnation: self.incarnation };
        let stream = client.server_stream::<_, AssignmentsPart>(ASSIGNMENTS, &request).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        let mut first = true;
        let mut files = BTreeMap::new();
        loop {
            let next = timeout(SILENCE, stream.next()).await.map_err(|_| "silent leader")?;
            let mut assignments = match next.map_err(|error| error.to_string())? {
                None => return Err("the leader ended the stream".to_owned()),
                Some(AssignmentsPart::Set(assignments)) => assignments,
                Some(AssignmentsPart::File(id, content)) => {
                    files.insert(id, content);
                    continue;
                }
            };
            let needed = files_needed(&assignments);
            files.retain(|id, _| needed.contains(id));
            assignments.files.clone_from(&files);
            if first {
                info!(peer.id = %client.peer().id.short(), "following leader");
                first = false;
                self.following.send_replace(true);
            }
            let assignments = Arc::new(assignments);
            published.send_if_modified(|known| {
                let news = known.as_ref() != Some(&assignments);
                *known = Some(assignments);
                news
            });
        }
    }

    async fn leader(&self) -> Result<Client, String> {
        let leader = self.leadership.now().node.ok_or("no leader is known")?;
        self.peers.client(leader, Link::Control).await.map_err(|error| error.to_string())
    }

    /// Sends the leader what changed since it last confirmed; everything to a new leader.
    pub(crate) async fn reports(
        self,
        mut statuses: watch::Receiver<Arc<BTreeMap<TaskId, TaskStatus>>>,
        stop: CancellationToken,
    ) {
        let mut confirmed: BTreeMap<TaskId, TaskStatus> = BTreeMap::new();
        let mut to = None;
        // One for all rounds: a new one has seen nothing yet, and would not wait.
        let mut leadership = self.leadership.watch();
        loop {
            let leader = leadership.borrow_and_update().node;
            if leader != to {
                confirmed.clear();
                to = leader;
            }
            let now = Arc::clone(&statuses.borrow_and_update());
            confirmed.retain(|task, _| now.contains_key(task));
            let news: Vec<_> = now
                .iter()
                .filter(|(task, status)| confirmed.get(task) != Some(status))
                .take(STATUSES_MAX)
                .map(|(task, status)| (*task, status.clone()))
                .collect();
            let wait = if news.is_empty() || leader.is_none() {
                SILENCE
            } else if let Err(why) = self.report(&news).await {
                debug!(why, "report not confirmed");
                self.leadership.doubt();
                RETRY
            } else {
                confirmed.extend(news);
                continue;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                changed = statuses.changed() => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
                () = sleep(wait) => {}
            }
            sleep(GATHER).await;
        }
    }

    async fn report(&self, statuses: &[(TaskId, TaskStatus)]) -> Result<(), String> {
        let client = self.leader().await?;
        let request = ReportRequest { incarnation: self.incarnation, statuses: statuses.to_vec() };
        let answer = client.unary::<_, ReportAnswer>(REPORT, &request, DEADLINE).await;
        answer.map(|_| ()).map_err(|error| error.to_string())
    }
}
