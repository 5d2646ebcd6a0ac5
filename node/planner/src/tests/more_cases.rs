//! More cases: updates, restarts, ports and nodes that go away.

use expect_test::{Expect, expect};

use super::world::run;

#[track_caller]
fn check(script: &str, expected: Expect) {
    expected.assert_eq(&run(script));
}

#[test]
fn an_update_replaces_one_task_at_a_time() {
    check(
        "node a\nnode b\nservice web replicas=2\nrun\nupdate web image=new\nplan\nplan
         report web.1/1 shutdown\nplan\nreport web.1/2 running\nplan\nagents\nplan\nagents\nplan
         after 5\nplan",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on b
            --
            web Updating: update in progress
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 60 s
            --
            wake in 60 s
            --
            running web.1/2
            --
            shutdown web.2/1
            create web.2/2 ready on b
            wake in 60 s
            --
            running web.2/2
            --
            wake in 5 s
            --
            web Completed: update completed
        "#]],
    );
}

#[test]
fn an_update_in_parallel_with_a_delay() {
    check(
        "node a\nservice web replicas=3 parallelism=2 delay=10\nrun\nupdate web image=new\nrun
         after 10\nrun\nafter 11\nrun",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on a
            create web.3/1 running on a
            --
            web Updating: update in progress
            shutdown web.1/1
            shutdown web.2/1
            create web.1/2 ready on a
            create web.2/2 ready on a
            wake in 60 s
            running web.1/2
            running web.2/2
            wake in 10 s
            --
            shutdown web.3/1
            create web.3/2 ready on a
            wake in 60 s
            running web.3/2
            wake in 11 s
            --
            web Completed: update completed
        "#]],
    );
}

#[test]
fn start_first_stops_the_old_task_last() {
    check(
        "node a\nservice web replicas=1 order=start-first\nrun\nupdate web image=new\nplan
         agents\nplan\nagents\nplan",
        expect![[r#"
            create web.1/1 running on a
            --
            web Updating: update in progress
            create web.1/2 running on a
            --
            shutdown web.1/1
            wake in 5 s
            --
            wake in 5 s
        "#]],
    );
}

#[test]
fn an_update_waits_a_minute_for_the_old_task() {
    check(
        "node a\nservice web replicas=1\nrun\nupdate web image=new\nplan\nafter 60\nplan",
        expect![[r#"
            create web.1/1 running on a
            --
            web Updating: update in progress
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 60 s
            --
            running web.1/2
        "#]],
    );
}

#[test]
fn an_update_pauses_on_the_first_failure() {
    check(
        "node a\nnode b\nservice web replicas=2\nrun\nupdate web image=bad\nrun
         report web.1/2 failed\nplan\nafter 5\nrun\nupdate web image=good\nrun\nafter 5\nrun",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on b
            --
            web Updating: update in progress
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 60 s
            running web.1/2
            shutdown web.2/1
            create web.2/2 ready on b
            wake in 60 s
            running web.2/2
            wake in 5 s
            --
            web Paused: update paused due to failure or early termination of task web.1/2
            shutdown web.1/2
            create web.1/3 ready on a
            wake in 5 s
            --
            running web.1/3
            --
            web Updating: update in progress
            shutdown web.1/3
            create web.1/4 ready on a
            wake in 60 s
            running web.1/4
            shutdown web.2/2
            create web.2/3 ready on b
            wake in 60 s
            running web.2/3
            wake in 5 s
            --
            web Completed: update completed
        "#]],
    );
}

#[test]
fn an_update_bears_the_failures_that_it_may() {
    check(
        "node a\nservice web replicas=2 ratio=500000\nrun\nupdate web image=new\nplan
         report web.1/1 shutdown\nplan\nreport web.1/2 rejected\nrun\nafter 5\nrun\nafter 5\nrun",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on a
            --
            web Updating: update in progress
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 60 s
            --
            running web.1/2
            --
            shutdown web.1/2
            shutdown web.2/1
            create web.1/3 ready on a
            create web.2/2 ready on a
            wake in 5 s
            running web.2/2
            wake in 5 s
            wake in 5 s
            --
            web Completed: update completed
            running web.1/3
            --
        "#]],
    );
}

#[test]
fn an_update_rolls_back_if_it_is_to() {
    check(
        "node a\nservice web replicas=2 on-failure=rollback\nrun\nupdate web image=bad\nplan
         report web.1/1 shutdown\nplan\nreport web.1/2 failed\nplan\nrun\nafter 5\nrun",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on a
            --
            web Updating: update in progress
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 60 s
            --
            running web.1/2
            --
            web RollbackStarted: update rolled back due to failure or early termination of task web.1/2
            --
            shutdown web.1/2
            create web.1/3 running on a
            wake in 5 s
            --
            web RollbackCompleted: rollback completed
        "#]],
    );
}

#[test]
fn a_user_rolls_back() {
    check(
        "node a\nservice web replicas=1\nrun\nupdate web image=new\nrun\nafter 5\nrun
         rollback web\nrun\nafter 5\nrun",
        expect![[r#"
            create web.1/1 running on a
            --
            web Updating: update in progress
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 60 s
            running web.1/2
            wake in 5 s
            --
            web Completed: update completed
            --
            shutdown web.1/2
            create web.1/3 ready on a
            wake in 60 s
            running web.1/3
            wake in 5 s
            --
            web RollbackCompleted: rollback completed
        "#]],
    );
}

#[test]
fn other_constraints_alone_restart_only_what_does_not_fit() {
    check(
        "node a\nnode b\nservice web replicas=2\nrun\nupdate web constraint=node.hostname!=a\nrun
         after 5\nrun\nshow web",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on b
            --
            web Updating: update in progress
            shutdown web.1/1
            create web.1/2 ready on b
            wake in 60 s
            running web.1/2
            wake in 5 s
            --
            web Completed: update completed
            --
            web.1/1 on a: shutdown, wanted shutdown
            web.1/2 on b: running, wanted running
            web.2/1 on b: running, wanted running
        "#]],
    );
}

#[test]
fn an_update_of_replicas_alone_restarts_nothing() {
    check(
        "node a\nservice web replicas=1\nrun\nupdate web replicas=2\nplan",
        expect![[r#"
        create web.1/1 running on a
        --
        create web.2/1 running on a
    "#]],
    );
}

#[test]
fn ports_are_allocated_and_stay() {
    check(
        "node a\nservice api replicas=0 publish=30000:80
         service web replicas=0 publish=0:80 publish=8080:81\nplan
         service zoo replicas=0 publish=0:80\nplan
         update web publish=0:82\nplan\nremove web\nplan\nservice cat replicas=0 publish=0:1\nplan",
        expect![[r#"
            ports api 30000:80
            ports web 30001:80 8080:81
            --
            ports zoo 30002:80
            --
            ports web 30001:80 8080:81 30003:82
            --
            --
            ports cat 30001:1
        "#]],
    );
}

#[test]
fn host_ports_keep_tasks_apart() {
    check(
        "node a\nnode b\nservice web replicas=3 host=80:80\nplan",
        expect![[r#"
        ports web 80:80
        create web.1/1 running on a
        create web.2/1 running on b
        create web.3/1 running waits: no suitable node (host-mode port already in use on 2 nodes; 1 node not available for new tasks)
    "#]],
    );
}

#[test]
fn a_node_takes_so_many_replicas() {
    check(
        "node a\nservice web replicas=2 max-per-node=1\nplan",
        expect![[r#"
        create web.1/1 running on a
        create web.2/1 running waits: no suitable node (1 node not available for new tasks; max replicas per node limit exceed)
    "#]],
    );
}

#[test]
fn a_slot_whose_successor_is_refused_at_once_waits_for_the_delay() {
    check(
        "node a\nservice web replicas=1\nrun\nreport web.1/1 rejected\nrun\n\
         report web.1/2 rejected\nrun\nafter 4\nrun\nafter 1\nrun\nreport web.1/3 rejected\nrun\n\
         update web image=other\nrun",
        expect![[r#"
            create web.1/1 running on a
            --
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 5 s
            wake in 5 s
            --
            shutdown web.1/2
            wake in 5 s
            wake in 5 s
            --
            wake in 1 s
            --
            create web.1/3 ready on a
            wake in 5 s
            wake in 5 s
            --
            shutdown web.1/3
            wake in 5 s
            wake in 5 s
            --
            create web.1/4 running on a
        "#]],
    );
}

#[test]
fn a_node_on_which_a_service_fails_comes_last() {
    let again = |n| format!("report web.1/{n} failed\nrun\n");
    let failures: String = (1..=5).map(again).collect();
    check(
        &format!("node a\nservice web replicas=1 restart-delay=0\nrun\nnode b\npause b\n{failures}active b
         service fill replicas=3 constraint=node.hostname==b\nrun\nreport web.1/6 failed\nplan"),
        expect![[r#"
            create web.1/1 running on a
            --
            shutdown web.1/1
            create web.1/2 running on a
            --
            shutdown web.1/2
            create web.1/3 running on a
            --
            shutdown web.1/3
            create web.1/4 running on a
            --
            shutdown web.1/4
            create web.1/5 running on a
            --
            shutdown web.1/5
            create web.1/6 running on a
            --
            create fill.1/1 running on b
            create fill.2/1 running on b
            create fill.3/1 running on b
            --
            shutdown web.1/6
            forget web.1/1
            create web.1/7 running on b
        "#]],
    );
}

#[test]
fn a_job_runs_each_slot_to_completion() {
    check(
        "node a\nservice sum job=3\nrun\nreport sum.0/1 complete\nrun\nreport sum.1/1 failed\nrun
         after 5\nrun\nreport sum.1/2 complete\nreport sum.2/1 complete\nrun
         update sum force\nrun",
        expect![[r#"
            create sum.0/1 complete on a
            create sum.1/1 complete on a
            --
            shutdown sum.0/1
            create sum.2/1 complete on a
            --
            shutdown sum.1/1
            create sum.1/2 ready on a
            wake in 5 s
            wake in 5 s
            --
            complete sum.1/2
            --
            shutdown sum.1/2
            shutdown sum.2/1
            --
            remove sum.0/1
            remove sum.1/1
            remove sum.1/2
            remove sum.2/1
            forget sum.0/1
            forget sum.1/1
            forget sum.1/2
            forget sum.2/1
            create sum.0/2 complete on a
            create sum.1/3 complete on a
        "#]],
    );
}

#[test]
fn a_global_job_runs_once_on_every_node() {
    check(
        "node a\nservice scan global-job\nrun\nreport scan.a/1 complete\nrun\nnode b\nrun\nshow scan",
        expect![[r#"
            create scan.a/1 complete on a
            --
            shutdown scan.a/1
            --
            create scan.b/1 complete on b
            --
            scan.a/1 on a: complete, wanted shutdown
            scan.b/1 on b: running, wanted complete
        "#]],
    );
}

#[test]
fn without_history_a_task_still_waits_for_its_delay() {
    check(
        "history 0\nnode a\nservice web replicas=1\nservice one restart=none\nrun
         report web.1/1 failed\nreport one.1/1 failed\nrun\nafter 5\nrun\nrun\nshow one\nshow web",
        expect![[r#"
            create one.1/1 running on a
            create web.1/1 running on a
            --
            shutdown one.1/1
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 5 s
            wake in 5 s
            --
            running web.1/2
            forget web.1/1
            --
            --
            one.1/1 on a: failed, wanted shutdown
            --
            web.1/2 on a: running, wanted running
        "#]],
    );
}
