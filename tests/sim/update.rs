//! A new spec replaces the old tasks, a few at a time.

use model::TaskState;
use model::service::UpdateState;
use tests::cluster::{Cluster, SECOND};
use tests::services::{id, replicated, start_first};

use crate::{comes_to_rest, keeps_its_promises};

fn state_of_update(cluster: &Cluster) -> Option<UpdateState> {
    cluster.state.service(id("web"))?.update_status.as_ref().map(|status| status.state)
}

fn set_image(cluster: &mut Cluster, image: &str) {
    cluster.change("web", |spec| image.clone_into(&mut spec.task.container.image));
}

#[test]
fn a_rolling_update_replaces_every_task_and_says_so() {
    let mut cluster = Cluster::new(3);
    cluster.run(replicated("web", 5)).unwrap();
    comes_to_rest(&mut cluster);
    set_image(&mut cluster, "demo:2");
    comes_to_rest(&mut cluster);
    assert_eq!(state_of_update(&cluster), Some(UpdateState::Completed));
    let running = cluster.state.tasks().filter(|task| task.status.state == TaskState::Running);
    assert!(running.into_iter().all(|task| task.spec.container.image == "demo:2"));
}

#[test]
fn start_first_never_runs_fewer_than_before() {
    let mut cluster = Cluster::new(3);
    cluster.run(start_first(replicated("web", 3))).unwrap();
    comes_to_rest(&mut cluster);
    set_image(&mut cluster, "demo:2");
    for _ in 0..600 {
        cluster.plan(0);
        cluster.agents();
        cluster.after(SECOND / 10);
        assert!(3 <= cluster.running("web").len());
    }
    comes_to_rest(&mut cluster);
    assert_eq!(state_of_update(&cluster), Some(UpdateState::Completed));
}

#[test]
fn an_update_survives_its_leader_and_a_node() {
    let mut cluster = Cluster::new(3);
    cluster.run(replicated("web", 4)).unwrap();
    comes_to_rest(&mut cluster);
    set_image(&mut cluster, "demo:2");
    cluster.settle_within(3 * SECOND);
    cluster.lead(SECOND);
    cluster.machines[2].is_connected = false;
    cluster.settle_within(60 * SECOND);
    keeps_its_promises(&cluster);
    cluster.machines[2].is_connected = true;
    comes_to_rest(&mut cluster);
    assert_eq!(cluster.running("web").len(), 4);
}
