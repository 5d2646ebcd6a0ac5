//! The leader's side of the agents: assignments out, reports in, admissions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crypto::stream::{Code, Context, Sending, Status};
use crypto::{Credentials, NodeId, Role};
use model::{Admission, Applied, Command, State, TokenId};
use store::{ProposeError, Store};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::admission::grant_of;
use crate::assignments::{assignments_of, content_of, files_needed, with_logins};
use crate::leadership::Leadership;
use crate::messages::{
    AdmitAnswer, AdmitRequest, Assignments, AssignmentsPart, AssignmentsRequest, FileContent,
    FileId, ReportAnswer, ReportRequest,
};

/// Changes of the state are gathered for so long before they go out: tasks of one
/// plan then travel together, and nobody notices twenty milliseconds.
const GATHER: Duration = Duration::from_millis(20);

/// A silent stream says the same again after this, so that both ends know the other is there.
const REPEAT: Duration = Duration::from_secs(10);

/// One proposal: two failed elections would take longer.
const DEADLINE: Duration = Duration::from_secs(3);

/// Statuses in one report: a node runs hundreds of tasks, not tens of thousands.
const STATUSES_MAX: usize = 10_000;

/// Who has an assignment stream, and since when not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Served {
    // A std mutex, never held across an await: a counter per node.
    nodes: Arc<Mutex<BTreeMap<NodeId, (usize, Instant)>>>,
}

impl Served {
    fn enter(&self, node: NodeId) -> ServedGuard {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.entry(node).or_insert_with(|| (0, Instant::now())).0 += 1;
        ServedGuard { served: self.clone(), node }
    }

    /// How long a node has had no stream; `None` while it has one or never had.
    pub(crate) fn unserved(&self, node: NodeId) -> Option<Option<Duration>> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(&node).map(|(n_open, since)| (*n_open == 0).then(|| since.elapsed()))
    }
}

struct ServedGuard {
    served: Served,
    node: NodeId,
}

impl Drop for ServedGuard {
    fn drop(&mut self) {
        let mut nodes = self.served.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((n_open, since)) = nodes.get_mut(&self.node) {
            *n_open = n_open.saturating_sub(1);
            *since = Instant::now();
        }
    }
}

/// The leader's side.
#[derive(Clone, Debug)]
pub(crate) struct Dispatcher {
    pub(crate) store: Store,
    /// With the key that opens what is sealed.
    pub(crate) credentials: watch::Receiver<Arc<Credentials>>,
    pub(crate) leadership: Leadership,
    pub(crate) served: Served,
}

impl Dispatcher {
    fn leads(&self) -> Result<(), Status> {
        if self.leadership.now().here {
            Ok(())
        } else {
            Err(Status::new(Code::NotLeader, "this node does not lead"))
        }
    }

    /// Sends a node what it should do, whole, whenever that changes.
    pub(crate) async fn assignments(
        self,
        context: Context,
        request: AssignmentsRequest,
        mut out: Sending<AssignmentsPart>,
    ) -> Result<(), Status> {
        let node = context.peer.id;
        let mut states = self.store.state();
        let _served = self.served.enter(node);
        let mut sent: Option<Assignments> = None;
        let mut files = BTreeSet::new();
        loop {
            self.leads()?;
            let state = Arc::clone(&states.borrow_and_update());
            check_admitted(&state, node, request.incarnation)?;
            let mut now = assignments_of(&state, node);
            if let Some(authority) = &self.credentials.borrow().authority {
                now = with_logins(now, &state, authority);
            }
            let news = sent.as_ref() != Some(&now);
            if news {
                let needed = files_needed(&now);
                for file in needed.difference(&files) {
                    let content = self.content(&state, *file);
                    send(&mut out, &AssignmentsPart::File(*file, content)).await?;
                }
                files = needed;
                let now = AssignmentsPart::Set(now);
                send(&mut out, &now).await?;
                if let AssignmentsPart::Set(now) = now {
                    sent = Some(now);
                }
            }
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return Ok(()) },
                () = sleep(REPEAT) => sent = None,
            }
            sleep(GATHER).await;
        }
    }

    fn content(&self, state: &State, file: FileId) -> FileContent {
        let credentials = Arc::clone(&self.credentials.borrow());
        let authority = credentials.authority.as_ref();
        let authority = authority.ok_or("the leader does not hold the cluster key")?;
        content_of(state, file, authority)
    }

    /// Takes note of what a node saw of its tasks.
    pub(crate) async fn report(
        self,
        context: Context,
        request: ReportRequest,
    ) -> Result<ReportAnswer, Status> {
        self.leads()?;
        if STATUSES_MAX < request.statuses.len() {
            return Err(Status::invalid(format!(
                "more than {STATUSES_MAX} statuses in one report"
            )));
        }
        let node = context.peer.id;
        check_admitted(&self.store.state().borrow(), node, request.incarnation)?;
        let command = Command::ReportTasks {
            node,
            incarnation: request.incarnation,
            statuses: request.statuses,
        };
        self.propose(command).await.map(|_| ReportAnswer {})
    }

    /// Admits a node: the caller itself, or, if an eligible node vouches, a token's holder.
    pub(crate) async fn admit(
        self,
        context: Context,
        request: AdmitRequest,
    ) -> Result<AdmitAnswer, Status> {
        self.leads()?;
        let peer = &context.peer;
        let admission = request.admission;
        let own = admission.id == peer.id;
        let keys_match = peer.public.ed25519 == admission.ed25519
            && peer.public.x25519 == admission.x25519
            && admission.grant == grant_of(peer.role);
        let vouched = peer.role == Role::Eligible && admission.token.is_some();
        if (own && !keys_match) || (!own && !vouched) || peer.candidate {
            return Err(Status::denied("a node is admitted under its own keys only"));
        }
        // What a member says of its token is not believed: its certificate says it.
        let token =
            if own { peer.token.map(|id| (TokenId::from_bytes(id), 0)) } else { admission.token };
        self.admit_as(Admission { token, ..admission }).await
    }

    /// Writes the admission; the caller has checked the keys.
    pub(crate) async fn admit_as(&self, admission: Admission) -> Result<AdmitAnswer, Status> {
        let id = admission.id;
        let known = known_as(&self.store.state().borrow(), &admission);
        if let Some(answer) = known {
            return Ok(answer); // Nothing new: no entry for the log.
        }
        self.propose(Command::Admit(admission)).await?;
        let state = Arc::clone(&self.store.state().borrow());
        let answer = answer_for(&state, id);
        answer.ok_or_else(|| Status::unavailable("admitted, and not applied yet: ask again"))
    }

    async fn propose(&self, command: Command) -> Result<Applied, Status> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the enum grows, and whatever comes is no confirmation"
        )]
        self.store.propose(command, None, DEADLINE).await.map_err(|error| match error {
            ProposeError::NotLeader { .. } => {
                Status::new(Code::NotLeader, "this node does not lead")
            }
            ProposeError::Refused(refused) => Status::new(Code::Refused, refused.to_string()),
            other => Status::unavailable(other.to_string()),
        })
    }
}

async fn send(out: &mut Sending<AssignmentsPart>, part: &AssignmentsPart) -> Result<(), Status> {
    out.send(part).await.map_err(|error| Status::unavailable(error.to_string()))
}

fn check_admitted(state: &State, node: NodeId, incarnation: u64) -> Result<(), Status> {
    let Some(record) = state.node(node) else {
        return Err(Status::denied("this node is not admitted"));
    };
    if incarnation < record.incarnation {
        return Err(Status::denied(
            "a later start of this node was seen: another machine has a copy of its data directory",
        ));
    }
    Ok(())
}

fn known_as(state: &State, admission: &Admission) -> Option<AdmitAnswer> {
    let record = state.node(admission.id)?;
    let same =
        record.incarnation == admission.incarnation && record.description == admission.description;
    if same { answer_for(state, admission.id) } else { None }
}

fn answer_for(state: &State, id: NodeId) -> Option<AdmitAnswer> {
    let record = state.node(id)?;
    Some(AdmitAnswer { cluster: state.cluster()?.id, raft_id: record.raft_id })
}
