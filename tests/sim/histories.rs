//! Random histories: whatever happens in whatever order, every invariant holds after every
//! command, and once nothing goes wrong any more, everything runs that has room.

use model::{Availability, Command, ServiceMode, ServiceSpec};
use proptest::prelude::*;
use tests::cluster::{Cluster, SECOND};
use tests::invariants;
use tests::services::{self, global, job, published, replicated, reserving, start_first};

use crate::{LONG, n_histories};

#[derive(Clone, Debug)]
enum Event {
    /// Somebody plans from a state so many commands old.
    Plan { age: usize },
    /// Every agent takes a turn.
    Agents,
    /// A report that was sent before arrives once more.
    Repeat { nth: usize },
    /// Time goes by.
    After { millis: u64 },
    /// A machine is cut off, or heard again.
    Connected { machine: usize, is: bool },
    /// A machine loses its power.
    PowerLoss { machine: usize },
    /// Its daemon ends and its containers do not.
    Stop { machine: usize },
    /// It starts again.
    Start { machine: usize },
    /// It gets slow, or fast again.
    Slow { machine: usize, is: bool },
    /// One of its tasks fails.
    Fail { machine: usize, nth: usize },
    /// It is removed, and comes back as another node.
    Replace { machine: usize },
    /// A user says what it may be used for.
    Availability { machine: usize, is: Availability },
    /// A user changes a service, or creates it again.
    Scale { service: usize, replicas: u64 },
    /// A user updates a service.
    Update { service: usize, how: How },
    /// A user removes a service.
    Remove { service: usize },
    /// Another leader takes over, whose clock is ahead of the last one's. If it is behind, an
    /// update may replace more tasks at once than it should until the clock has caught up: what
    /// belongs to an update is read from times.
    Lead { ahead_millis: u64 },
}

#[derive(Clone, Copy, Debug)]
enum How {
    Image,
    Force,
    StartFirst,
    Publish,
    Reserve,
    RollBackOnFailure,
}

fn any_event() -> impl Strategy<Value = Event> {
    let machine = || 0_usize..4;
    let availability =
        prop::sample::select(vec![Availability::Active, Availability::Pause, Availability::Drain]);
    let how = prop::sample::select(vec![
        How::Image,
        How::Force,
        How::StartFirst,
        How::Publish,
        How::Reserve,
        How::RollBackOnFailure,
    ]);
    prop_oneof![
        8 => (0_usize..8).prop_map(|age| Event::Plan { age }),
        8 => Just(Event::Agents),
        1 => (0_usize..16).prop_map(|nth| Event::Repeat { nth }),
        5 => (0_u64..10_000).prop_map(|millis| Event::After { millis }),
        1 => (60_000_u64..90_000_000).prop_map(|millis| Event::After { millis }),
        2 => (machine(), any::<bool>()).prop_map(|(machine, is)| Event::Connected { machine, is }),
        1 => machine().prop_map(|machine| Event::PowerLoss { machine }),
        1 => machine().prop_map(|machine| Event::Stop { machine }),
        2 => machine().prop_map(|machine| Event::Start { machine }),
        1 => (machine(), any::<bool>()).prop_map(|(machine, is)| Event::Slow { machine, is }),
        3 => (machine(), 0_usize..4).prop_map(|(machine, nth)| Event::Fail { machine, nth }),
        1 => machine().prop_map(|machine| Event::Replace { machine }),
        1 => (machine(), availability).prop_map(|(machine, is)| Event::Availability { machine, is }),
        2 => (0_usize..4, 0_u64..5).prop_map(|(service, replicas)| Event::Scale { service, replicas }),
        2 => (0_usize..4, how).prop_map(|(service, how)| Event::Update { service, how }),
        1 => (0_usize..4).prop_map(|service| Event::Remove { service }),
        1 => (0_u64..3_000).prop_map(|ahead_millis| Event::Lead { ahead_millis }),
    ]
}

/// The services of every history.
fn service(nth: usize) -> ServiceSpec {
    match nth {
        0 => reserving(replicated("web", 3), 1),
        1 => reserving(replicated("big", 2), 3),
        2 => global("log"),
        _ => job("once", 3),
    }
}

fn happen(cluster: &mut Cluster, event: &Event) {
    match *event {
        Event::Plan { age } => _ = cluster.plan(age),
        Event::Agents => _ = cluster.agents(),
        Event::Repeat { nth } => cluster.repeat_report(nth),
        Event::After { millis } => cluster.after(millis * SECOND / 1_000),
        Event::Connected { machine, is } => cluster.machines[machine].is_connected = is,
        Event::PowerLoss { machine } => cluster.machines[machine].lose_power(),
        Event::Stop { machine } => cluster.machines[machine].stop(),
        Event::Start { machine } => cluster.machines[machine].start(),
        Event::Slow { machine, is } => cluster.machines[machine].is_slow = is,
        Event::Fail { machine, nth } => cluster.machines[machine].fail(nth),
        Event::Replace { machine } => cluster.replace(machine),
        Event::Availability { machine, is } => cluster.set_availability(machine, is),
        Event::Scale { service: nth, replicas } => scale(cluster, nth, replicas),
        Event::Update { service: nth, how } => update(cluster, nth, how),
        Event::Remove { service: nth } => {
            let id = services::id(service(nth).name.as_str());
            // It may be gone already, as a user would be told.
            let _ = cluster.apply(Command::RemoveService { id });
        }
        Event::Lead { ahead_millis } => cluster.lead_later(ahead_millis * SECOND / 1_000),
    }
}

fn scale(cluster: &mut Cluster, nth: usize, replicas: u64) {
    let spec = service(nth);
    if cluster.state.service(services::id(spec.name.as_str())).is_none() {
        cluster.run(spec).unwrap();
        return;
    }
    cluster.change(spec.name.as_str(), |spec| match &mut spec.mode {
        ServiceMode::Replicated { replicas: n }
        | ServiceMode::ReplicatedJob { total_completions: n, .. } => {
            *n = replicas;
        }
        ServiceMode::Global | ServiceMode::GlobalJob => {}
    });
}

fn update(cluster: &mut Cluster, nth: usize, how: How) {
    let name = service(nth).name;
    cluster.change(name.as_str(), |spec| match how {
        How::Image => spec.task.container.image.push('i'),
        How::Force => spec.task.force_update += 1,
        How::StartFirst => *spec = start_first(spec.clone()),
        How::Publish => *spec = published(spec.clone(), 0),
        How::Reserve => *spec = reserving(spec.clone(), 2),
        How::RollBackOnFailure => {
            let update = spec.update.get_or_insert(model::service::UpdateConfig::DEFAULT);
            update.failure_action = model::service::FailureAction::Rollback;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: n_histories(),
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_keeps_the_invariants_and_comes_to_rest(
        n_services in 1_usize..5,
        events in prop::collection::vec(any_event(), 1..60),
    ) {
        let mut cluster = Cluster::new(4);
        for nth in 0..n_services {
            cluster.run(service(nth)).unwrap();
        }
        for event in &events {
            happen(&mut cluster, event);
            prop_assert_eq!(&cluster.violations, &vec![], "at {:?}", event);
        }
        cluster.heal();
        let settled = cluster.settle_within(LONG);
        prop_assert_eq!(&cluster.violations, &vec![]);
        prop_assert!(settled, "it does not settle");
        prop_assert_eq!(invariants::at_rest(&cluster), vec![]);
    }
}
