//! Containers that outlive their daemon.

use serde_json::Value;
use tests::live::{Kind, Lab, curl, lives, possible};
use tests::live_net::address;

use crate::{HEALED, MOVED};

const PORT: u16 = 8080;

#[test]
fn containers_outlive_the_daemon_and_are_adopted() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(1, Kind::Alone);
    lab.form(1);
    lab.create(1, "web", 1, Some(PORT)).unwrap();
    // The first container of a machine unpacks its image.
    let (task, pid) = lab.until("a container runs", MOVED, running);
    lab.until("the published port answers", HEALED, |lab| {
        lab.network.outside(|| curl(address(1), PORT)).map(drop)
    });

    lab.kill(1);
    assert!(lives(pid), "the container ended with the daemon");
    lab.start(1);
    let adopted = lab.until("the container is adopted", HEALED, running);
    assert_eq!(adopted, (task, pid), "the task or its process is another");
    lab.until("the published port answers again", HEALED, |lab| {
        lab.network.outside(|| curl(address(1), PORT)).map(drop)
    });

    assert!(lives(pid), "the container was started anew");
    let removed = lab.ask(1, "DELETE", "/services/web", &Value::Null).unwrap();
    assert_eq!(removed.status, 200, "{}", removed.body);
    lab.until("the container is gone", MOVED, |lab| {
        let n_left = lab.tasks(1)?.len();
        let gone = !lives(pid) && n_left == 0;
        gone.then_some(()).ok_or_else(|| format!("{n_left} tasks, process: {}", lives(pid)))
    });
}

/// The one running task and its process.
fn running(lab: &mut Lab) -> Result<(String, i64), String> {
    let tasks = lab.tasks(1)?;
    let one = tasks.iter().find(|task| tests::live::runs(task));
    let pid = one.and_then(|task| task["Status"]["ContainerStatus"]["PID"].as_i64());
    let id = one.and_then(|task| task["ID"].as_str());
    let found = id.zip(pid.filter(|pid| *pid != 0));
    found.map(|(id, pid)| (id.to_owned(), pid)).ok_or_else(|| tests::live::brief(&tasks))
}
