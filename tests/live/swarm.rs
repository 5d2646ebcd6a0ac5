//! Swarm's own way: daemons that know nothing, `init`, `join`, `leave`, and all that again.

use serde_json::{Value, json};
use tests::live::{Answer, Kind, Lab, Way, possible, voters};
use tests::live_net::address;

use crate::{HEALED, RUN, VOTERS, WRITE};

fn post(lab: &Lab, n: usize, path: &str, body: &Value) -> Answer {
    lab.ask(n, "POST", path, body).unwrap()
}

fn init(lab: &Lab, n: usize) -> Answer {
    post(
        lab,
        n,
        "/swarm/init",
        &json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": address(n) }),
    )
}

fn join(lab: &Lab, n: usize, token: &str, remote: &str) -> Answer {
    let body = json!({ "RemoteAddrs": [remote], "JoinToken": token, "AdvertiseAddr": address(n) });
    post(lab, n, "/swarm/join", &body)
}

fn token(lab: &Lab, n: usize, role: &str) -> String {
    let swarm = lab.get(n, "/swarm").unwrap();
    swarm["JoinTokens"][role].as_str().unwrap().to_owned()
}

/// Waits until a daemon is up and in no cluster.
pub(crate) fn until_outside(lab: &mut Lab, n: usize) {
    lab.until(&format!("daemon {n} waits outside"), WRITE, |lab| {
        let info = lab.get(n, "/info")?;
        let state = &info["Swarm"]["LocalNodeState"];
        (*state == "inactive").then_some(()).ok_or_else(|| state.to_string())
    });
}

#[test]
fn init_and_joins_make_a_cluster_with_three_voters() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(5, Kind::Seeded);
    (1..=5).for_each(|n| lab.start_as(n, &Way::outside()));
    (1..=5).for_each(|n| until_outside(&mut lab, n));
    let refused = lab.ask(1, "GET", "/nodes", &Value::Null).unwrap();
    assert_eq!(refused.status, 503);
    assert!(refused.body.to_string().contains("docker swarm init"), "{}", refused.body);
    let nothing = post(&lab, 1, "/swarm/leave", &Value::Null);
    assert_eq!(
        (nothing.status, &nothing.body["message"]),
        (503, &json!("This node is not part of a swarm"))
    );

    let founded = init(&lab, 1);
    assert_eq!(founded.status, 200, "{}", founded.body);
    assert_eq!(founded.body, json!(lab.id(1)), "init answers the node's id");
    let again = init(&lab, 1);
    assert_eq!(again.status, 503);
    assert!(again.body.to_string().contains("already part of a swarm"), "{}", again.body);
    let info = lab.get(1, "/info").unwrap();
    assert!(info["Warnings"].to_string().contains("1 eligible manager"), "{}", info["Warnings"]);

    // A token is the same each time it is asked for, and junk is none.
    let (worker, manager) = (token(&lab, 1, "Worker"), token(&lab, 1, "Manager"));
    assert_eq!((&worker, &manager), (&token(&lab, 1, "Worker"), &token(&lab, 1, "Manager")));
    assert_eq!(join(&lab, 2, "SWMTKN-1-x", "10.77.0.1").status, 500);
    // Swarm's port, which nobody answers at: ours is tried beside it.
    for n in [2, 3] {
        let joined = join(&lab, n, &worker, &format!("{}:2377", address(1)));
        assert_eq!(joined.status, 200, "{}", joined.body);
    }
    for n in [4, 5] {
        let joined = join(&lab, n, &manager, &address(1).to_string());
        assert_eq!(joined.status, 200, "{}", joined.body);
    }
    lab.until("three voters, none of them a worker", VOTERS, |lab| {
        let voters = voters(&lab.status(1)?);
        let workers = [lab.id(2), lab.id(3)];
        let right = voters.len() == 3 && workers.iter().all(|id| !voters.contains(id));
        right.then_some(()).ok_or_else(|| format!("{voters:?}"))
    });
    lab.create(4, "web", 5, None).unwrap();
    lab.until_running(5, 5, RUN);
    let worker_says = lab.ask(2, "GET", "/services", &Value::Null).unwrap();
    assert_eq!(worker_says.status, 503);

    // What was joined is joined again after a restart, with no word on the command line.
    let id = lab.id(3);
    lab.kill(3);
    lab.start_as(3, &Way::outside());
    lab.until("the worker is back", HEALED, |lab| {
        let report = lab.status(3)?;
        let state = lab.states(1)?.get(&id).cloned();
        let same = report["Node"]["ID"] == id && report["Node"]["State"] == "active";
        let back = same && state.as_deref() == Some("ready");
        back.then_some(()).ok_or_else(|| format!("{state:?} {}", report["Node"]))
    });
}

#[test]
fn a_node_that_left_begins_anew_on_the_same_daemon() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(2, Kind::Seeded);
    (1..=2).for_each(|n| lab.start_as(n, &Way::outside()));
    (1..=2).for_each(|n| until_outside(&mut lab, n));
    assert_eq!(init(&lab, 1).status, 200);
    let first = (lab.id(1), lab.get(1, "/swarm").unwrap()["ID"].clone());
    let old = token(&lab, 1, "Worker");

    let version = lab.get(1, "/swarm").unwrap()["Version"]["Index"].clone();
    let rotate = format!("/swarm/update?version={version}&rotateWorkerToken=true");
    assert_eq!(post(&lab, 1, &rotate, &json!({ "Name": "default" })).status, 200);
    let refused = join(&lab, 2, &old, &address(1).to_string());
    assert_eq!(refused.status, 400, "a rotated token let somebody in: {}", refused.body);
    until_outside(&mut lab, 2);
    let new = token(&lab, 1, "Worker");
    assert_eq!(join(&lab, 2, &new, &address(1).to_string()).status, 200);
    let nowhere = post(&lab, 2, "/swarm/leave", &Value::Null);
    assert_eq!(nowhere.status, 200, "{}", nowhere.body);
    until_outside(&mut lab, 2);

    let kept = post(&lab, 1, "/swarm/leave", &Value::Null);
    assert_eq!(kept.status, 503);
    assert!(kept.body.to_string().contains("Removing the last manager"), "{}", kept.body);
    for _ in 0..3 {
        assert_eq!(post(&lab, 1, "/swarm/leave?force=1", &Value::Null).status, 200);
        assert_eq!(init(&lab, 1).status, 200, "at once after leaving");
    }
    let now = (lab.id(1), lab.get(1, "/swarm").unwrap()["ID"].clone());
    assert!(now.0 != first.0 && now.1 != first.1, "{now:?} was {first:?} before");
    assert_eq!(lab.services(1).unwrap().len(), 0, "the old cluster's services are gone");

    // A seed that nobody answers at is said within Swarm's own patience, and is not held to.
    let silent = join(&lab, 2, &new, "10.77.0.99");
    assert_eq!(silent.status, 503, "{}", silent.body);
    assert!(silent.body.to_string().contains("10.77.0.99:7964"), "{}", silent.body);
    until_outside(&mut lab, 2);
}
