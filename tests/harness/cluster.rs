//! A cluster in one thread: state and planner are real, machines and time are not.

use std::collections::{BTreeSet, VecDeque};

use crypto::NodeId;
use model::{
    Applied, Availability, ClusterId, Command, Entry, Index, NodeState, Refused, ServiceSpec,
    State, TaskState, UnixNanos, UpdateTo,
};
use planner::{Plan, Snapshot, plan};

use crate::invariants::{self, Violation};
use crate::machine::Machine;
use crate::services;

/// A second in nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// Gossip suspects a machine that was silent for so long; measured with phi 8 at 500 ms.
const SUSPECTED_AFTER: u64 = 4_200_000_000;
/// And probes convict it after this time.
const DOWN_AFTER: u64 = 5_500_000_000;
/// States that a late planner may still work from.
const PAST_MAX: usize = 8;
/// Reports that may arrive once more.
const REPORTS_MAX: usize = 16;
/// Turns until a cluster that nobody disturbs must be at rest. A rolling update takes about
/// ten for each slot.
const TURNS_MAX: usize = 2_000;

/// A cluster and all that happened in it.
#[derive(Debug)]
pub struct Cluster {
    /// What it agreed on.
    pub state: State,
    /// The same, as a follower has it, who read every entry from bytes.
    pub follower: State,
    /// Its machines.
    pub machines: Vec<Machine>,
    /// What was broken so far.
    pub violations: Vec<Violation>,
    now: UnixNanos,
    /// The clock of the present leader goes so much ahead of true time.
    ahead: u64,
    suspects: BTreeSet<NodeId>,
    past: VecDeque<State>,
    /// The last reports, newest first.
    reports: VecDeque<Command>,
    n_machines_made: u8,
}

impl Cluster {
    /// A cluster that the first machine founded and the others joined; all are ready.
    #[must_use]
    pub fn new(n_machines: u8) -> Self {
        let mut cluster = Self {
            state: State::default(),
            follower: State::default(),
            machines: Vec::new(),
            violations: Vec::new(),
            now: UnixNanos(1_000 * SECOND),
            ahead: 0,
            suspects: BTreeSet::new(),
            past: VecDeque::new(),
            reports: VecDeque::new(),
            n_machines_made: 0,
        };
        cluster.join();
        let founders = vec![(1, cluster.machines[0].admission())];
        let id = ClusterId::from_bytes([1; 16]);
        cluster.apply(Command::Found { id, founders }).unwrap();
        (1..n_machines).for_each(|_| cluster.join());
        cluster.listen();
        cluster
    }

    /// One more machine asks to be admitted.
    pub fn join(&mut self) {
        self.n_machines_made += 1;
        self.machines.push(Machine::new(self.n_machines_made));
    }

    /// The time by the leader's clock.
    #[must_use]
    pub const fn now(&self) -> UnixNanos {
        self.now.plus(self.ahead)
    }

    /// Another leader takes over, whose clock goes ahead of true time by so much.
    pub const fn lead(&mut self, ahead: u64) {
        self.ahead = ahead;
    }

    /// Another leader takes over, whose clock goes ahead of the last one's by so much.
    pub const fn lead_later(&mut self, ahead: u64) {
        self.ahead += ahead;
    }

    /// Time goes on.
    pub fn after(&mut self, nanos: u64) {
        self.now = self.now.plus(nanos);
        self.listen();
    }

    /// Writes a command, on the leader and on a follower, and checks every invariant.
    ///
    /// # Errors
    ///
    /// What the state says.
    pub fn apply(&mut self, command: Command) -> Result<Applied, Refused> {
        let before = self.state.clone();
        let index = Index(before.index().0 + 1);
        let entry = Entry { request: None, now: self.now(), command };
        let result = self.state.apply(index, &entry);
        self.state.take_changes();

        let read = Entry::decode(&entry.encode().unwrap()).unwrap();
        let same = self.follower.apply(index, &read);
        self.follower.take_changes();

        if same != result {
            self.violated("followers agree", format!("{result:?} here, {same:?} there"));
        }
        let found = invariants::after(&before, self);
        self.violations.extend(found);
        self.past.push_front(before);
        self.past.truncate(PAST_MAX);
        result
    }

    /// What the leader would write now.
    #[must_use]
    pub fn propose(&self) -> Plan {
        plan(&Snapshot { state: &self.state, now: self.now(), suspects: &self.suspects })
    }

    /// Plans, from a state so many commands old, and writes the plan. Whether it had an effect.
    pub fn plan(&mut self, age: usize) -> bool {
        let known = age.checked_sub(1).and_then(|age| self.past.get(age)).unwrap_or(&self.state);
        let known = known.clone();
        let made = plan(&Snapshot { state: &known, now: self.now(), suspects: &self.suspects });
        if made.decisions.is_empty() {
            return false;
        }
        let more = made.more;
        let command =
            Command::AdoptPlan { based_on: made.based_on, decisions: made.decisions.clone() };
        match self.apply(command) {
            Ok(_) => {
                if age == 0 && !more {
                    let found = invariants::after_plan(self, &made);
                    self.violations.extend(found);
                }
                true
            }
            Err(Refused::Outdated { .. }) if 0 < age => false,
            Err(refused) => {
                self.violated("plans are lawful", format!("{age} commands old: {refused}"));
                false
            }
        }
    }

    /// Every machine takes a turn. Whether somebody had something to say.
    pub fn agents(&mut self) -> bool {
        let mut news = false;
        for nth in 0..self.machines.len() {
            let now = self.now;
            let Some(report) = self.machines[nth].turn(&self.state, now) else { continue };
            news = true;
            self.reports.push_front(report.clone());
            self.reports.truncate(REPORTS_MAX);
            let result = self.apply(report);
            if let Err(refused) = result {
                self.violated("reports are taken", refused.to_string());
            }
        }
        news
    }

    /// A report that was sent before arrives once more.
    pub fn repeat_report(&mut self, nth: usize) {
        if let Some(report) = self.reports.get(nth).cloned() {
            // Of a former life of its node, or of a node that is gone, it is refused.
            let _ = self.apply(report);
        }
    }

    /// Lets everything happen that follows from what is, for at most so long. Whether the
    /// cluster came to rest.
    pub fn settle_within(&mut self, nanos: u64) -> bool {
        let end = self.now.plus(nanos);
        for _ in 0..TURNS_MAX {
            let slow = self.machines.iter().any(|machine| machine.is_slow);
            let mut busy = self.listen();
            for _ in 0..if slow { 10 } else { 1 } {
                busy |= self.agents();
            }
            busy |= self.plan(0);
            if busy {
                self.after(SECOND / 10);
                continue;
            }
            // Only time can change anything now.
            let left = end.since(self.now);
            let wait = self.next_event().unwrap_or(u64::MAX);
            if left < wait {
                self.after(left);
                return true;
            }
            self.after(wait.max(1));
        }
        false
    }

    /// Until the planner wants to look again, or somebody silent is judged.
    fn next_event(&self) -> Option<u64> {
        let planned = self.propose().wake_at.map(|at| at.since(self.now()));
        let judged =
            self.machines.iter().filter(|machine| !machine.is_heard()).filter_map(|machine| {
                let silent = self.now.since(machine.heard_at);
                let next = [SUSPECTED_AFTER, DOWN_AFTER].into_iter().find(|limit| silent < *limit);
                next.map(|limit| limit - silent)
            });
        planned.into_iter().chain(judged).min()
    }

    /// The leader hears who is there, admits whom it does not know, and judges who is silent.
    /// Whether it wrote something.
    fn listen(&mut self) -> bool {
        let mut wrote = false;
        for nth in 0..self.machines.len() {
            let machine = &mut self.machines[nth];
            if machine.is_heard() {
                machine.heard_at = self.now;
                if !machine.is_admitted(&self.state) {
                    let admission = machine.admission();
                    self.apply(Command::Admit(admission)).unwrap();
                    wrote = true;
                }
            }
        }
        let silent = |machine: &Machine| self.now.since(machine.heard_at);
        // Gossip forgets whom everybody gave up: that such a node is Down is only in the state.
        let suspected =
            |machine: &&Machine| (SUSPECTED_AFTER..DOWN_AFTER).contains(&silent(machine));
        self.suspects = self.machines.iter().filter(suspected).map(Machine::id).collect();
        let turned: Vec<_> = self
            .machines
            .iter()
            .filter_map(|machine| {
                let known = self.state.node(machine.id())?.status.state;
                let seen = match silent(machine) {
                    0 => NodeState::Ready,
                    DOWN_AFTER.. => NodeState::Down,
                    _ => known,
                };
                (seen != known).then(|| (machine.id(), seen, "simulated".to_owned()))
            })
            .collect();
        if !turned.is_empty() {
            self.apply(Command::SetNodeStates(turned)).unwrap();
            wrote = true;
        }
        wrote
    }

    /// Creates a service, or writes its spec anew.
    ///
    /// # Errors
    ///
    /// What the state says, as a user would be told.
    pub fn run(&mut self, spec: ServiceSpec) -> Result<Applied, Refused> {
        let id = services::id(spec.name.as_str());
        match self.state.service(id).map(|service| service.spec_version) {
            None => self.apply(Command::CreateService { id, spec }),
            Some(version) => {
                let to = UpdateTo::Spec(Box::new(spec));
                self.apply(Command::UpdateService { id, version, to })
            }
        }
    }

    /// Changes the spec of a service that is there.
    pub fn change(&mut self, name: &str, how: impl FnOnce(&mut ServiceSpec)) {
        let Some(service) = self.state.service(services::id(name)) else { return };
        let mut spec = service.spec.clone();
        how(&mut spec);
        // A spec that is refused is the user's business and changes nothing.
        let _ = self.run(spec);
    }

    /// Says whether a machine gets and keeps tasks.
    pub fn set_availability(&mut self, nth: usize, availability: Availability) {
        let id = self.machines[nth].id();
        let Some(node) = self.state.node(id).cloned() else { return };
        let mut spec = node.spec.clone();
        spec.availability = availability;
        self.apply(Command::UpdateNode { id, version: node.spec_version, spec }).unwrap();
    }

    /// Removes a node for good; its machine starts afresh as a new one.
    pub fn replace(&mut self, nth: usize) {
        let id = self.machines[nth].id();
        if self.apply(Command::RemoveNode { id, force: true }).is_ok() {
            self.n_machines_made += 1;
            self.machines[nth] = Machine::new(self.n_machines_made);
            self.listen();
        }
    }

    /// All cables are in, all machines run and are to be used.
    pub fn heal(&mut self) {
        for nth in 0..self.machines.len() {
            self.machines[nth].start();
            self.machines[nth].is_connected = true;
            self.machines[nth].is_slow = false;
            self.set_availability(nth, Availability::Active);
        }
        self.listen();
    }

    /// Tasks of a service that run and are wanted, each with the number of its machine.
    #[must_use]
    pub fn running(&self, name: &str) -> Vec<usize> {
        let mut found: Vec<usize> = self
            .state
            .tasks_of_service(services::id(name))
            .filter(|task| task.desired <= TaskState::Complete)
            .filter(|task| task.status.state == TaskState::Running)
            .filter_map(|task| self.machines.iter().position(|m| Some(m.id()) == task.node))
            .collect();
        found.sort_unstable();
        found
    }

    /// Notes something that must never be.
    pub(crate) fn violated(&mut self, invariant: &'static str, seen: String) {
        self.violations.push(Violation { invariant, seen });
    }
}
