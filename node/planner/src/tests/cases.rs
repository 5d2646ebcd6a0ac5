//! Cases: a script of events in, the decisions of every plan out.

use expect_test::{Expect, expect};

use super::world::run;

#[track_caller]
fn check(script: &str, expected: Expect) {
    expected.assert_eq(&run(script));
}

#[test]
fn spreads_a_service_over_the_nodes() {
    check(
        "node a\nnode b\nnode c\nservice web replicas=4\nplan",
        expect![[r#"
        create web.1/1 running on a
        create web.2/1 running on b
        create web.3/1 running on c
        create web.4/1 running on a
    "#]],
    );
}

#[test]
fn prefers_the_emptier_node() {
    check(
        "node a\nnode b\nservice web replicas=1\nplan\nservice zoo replicas=1\nplan",
        expect![[r#"
            create web.1/1 running on a
            --
            create zoo.1/1 running on b
        "#]],
    );
}

#[test]
fn spreads_over_labels_before_nodes() {
    check(
        "node a zone=x\nnode b zone=x\nnode c zone=y\n
         service web replicas=4 spread=node.labels.zone\nplan",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on c
            create web.3/1 running on b
            create web.4/1 running on c
        "#]],
    );
}

#[test]
fn scaling_up_fills_the_lowest_numbers() {
    check(
        "node a\nnode b\nservice web replicas=3\nrun\nupdate web replicas=1\nrun
         update web replicas=3\nrun\nshow web",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on b
            create web.3/1 running on a
            --
            remove web.3/1
            remove web.2/1
            forget web.2/1
            forget web.3/1
            --
            create web.2/2 running on b
            create web.3/2 running on a
            --
            web.1/1 on a: running, wanted running
            web.2/2 on b: running, wanted running
            web.3/2 on a: running, wanted running
        "#]],
    );
}

#[test]
fn scaling_down_closes_where_most_copies_are() {
    check(
        "node a\nservice web replicas=2\nrun\nnode b\nupdate web replicas=3\nrun
         update web replicas=2\nplan",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on a
            --
            create web.3/1 running on b
            --
            remove web.2/1
        "#]],
    );
}

#[test]
fn scaling_down_closes_first_what_does_not_run() {
    check(
        "node a\nservice web replicas=2\nplan\nreport web.2/1 running\nupdate web replicas=1\nplan",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on a
            --
            remove web.1/1
        "#]],
    );
}

#[test]
fn scaling_to_nothing_leaves_nothing() {
    check(
        "node a\nservice web replicas=2\nrun\nupdate web replicas=0\nrun\nshow web",
        expect![[r#"
        create web.1/1 running on a
        create web.2/1 running on a
        --
        remove web.2/1
        remove web.1/1
        forget web.1/1
        forget web.2/1
        --
    "#]],
    );
}

#[test]
fn a_removed_service_leaves_nothing() {
    check(
        "node a\nservice web replicas=1\nrun\nremove web\nrun\nshow web",
        expect![[r#"
        create web.1/1 running on a
        --
        forget web.1/1
        --
    "#]],
    );
}

#[test]
fn says_why_a_task_waits() {
    check(
        "node a cpu=1\nnode b cpu=1 ssd=yes\nnode c\ndrain c\n
         service web replicas=1 cpu=2\n
         service zoo replicas=1 constraint=node.labels.ssd==no\nplan",
        expect![[r#"
            create web.1/1 running waits: no suitable node (2 nodes not available for new tasks; insufficient resources on 2 nodes)
            create zoo.1/1 running waits: no suitable node (2 nodes not available for new tasks; scheduling constraints not satisfied on 2 nodes)
        "#]],
    );
}

#[test]
fn a_task_that_waits_is_placed_when_a_node_fits() {
    check(
        "service web replicas=1 cpu=2\nplan\nnode a cpu=1\nplan\nnode b cpu=2\nplan",
        expect![[r#"
            create web.1/1 running waits: no suitable node (1 node not available for new tasks)
            --
            web.1/1 waits: no suitable node (1 node not available for new tasks; insufficient resources on 1 node)
            --
            assign web.1/1 to b
        "#]],
    );
}

#[test]
fn reservations_fill_a_node_and_no_more() {
    check(
        "node a cpu=4\nservice web replicas=3 cpu=2\nplan",
        expect![[r#"
        create web.1/1 running on a
        create web.2/1 running on a
        create web.3/1 running waits: no suitable node (1 node not available for new tasks; insufficient resources on 1 node)
    "#]],
    );
}

#[test]
fn constraints_are_met() {
    check(
        "node a\nnode b ssd=yes arch=aarch64\nnode c worker
         service by-label constraint=node.labels.ssd==YES
         service by-name constraint=node.hostname!=a constraint=node.role==manager
         service by-role constraint=node.role==worker
         service by-ip constraint=node.ip==10.0.0.2/31 constraint=node.hostname!=b
         service by-arch constraint=node.platform.arch==arm64
         service on-image platform=arm64\nplan",
        expect![[r#"
            create by-arch.1/1 running on b
            create by-ip.1/1 running on c
            create by-label.1/1 running on b
            create by-name.1/1 running on b
            create by-role.1/1 running on c
            create on-image.1/1 running on b
        "#]],
    );
}

#[test]
fn a_node_that_stops_fitting_loses_its_task() {
    check(
        "node a ssd=yes\nnode b ssd=yes\nservice web constraint=node.labels.ssd==yes\nrun
         label a ssd=no\nrun",
        expect![[r#"
            create web.1/1 running on a
            --
            shutdown web.1/1
            create web.1/2 ready on b
            wake in 60 s
            running web.1/2
        "#]],
    );
}

#[test]
fn a_failed_task_is_replaced_after_the_delay() {
    check(
        "node a\nservice web replicas=1\nrun\nreport web.1/1 failed\nplan\nagents\nplan
         after 4\nplan\nafter 1\nplan",
        expect![[r#"
            create web.1/1 running on a
            --
            shutdown web.1/1
            create web.1/2 ready on a
            wake in 5 s
            --
            wake in 5 s
            --
            wake in 1 s
            --
            running web.1/2
        "#]],
    );
}

#[test]
fn conditions_and_attempts_end_a_slot() {
    check(
        "node a\nservice never replicas=1 restart=none\nservice once replicas=1 restart=on-failure
         service twice replicas=1 attempts=2 restart-delay=0\nrun
         report never.1/1 failed\nreport once.1/1 complete
         report twice.1/1 failed\nrun\nreport twice.1/2 failed\nrun
         report twice.1/3 failed\nrun\nshow twice",
        expect![[r#"
            create never.1/1 running on a
            create once.1/1 running on a
            create twice.1/1 running on a
            --
            shutdown never.1/1
            shutdown once.1/1
            shutdown twice.1/1
            create twice.1/2 running on a
            --
            shutdown twice.1/2
            create twice.1/3 running on a
            --
            shutdown twice.1/3
            --
            twice.1/1 on a: failed, wanted shutdown
            twice.1/2 on a: failed, wanted shutdown
            twice.1/3 on a: failed, wanted shutdown
        "#]],
    );
}

#[test]
fn a_slot_keeps_five_ended_tasks() {
    let again = |n| format!("report web.1/{n} failed\nrun\nafter 5\nrun\n");
    let failures: String = (1..=6).map(again).collect();
    check(
        &format!("node a\nservice web replicas=1\nrun\n{failures}show web"),
        expect![[r#"
        create web.1/1 running on a
        --
        shutdown web.1/1
        create web.1/2 ready on a
        wake in 5 s
        wake in 5 s
        --
        running web.1/2
        --
        shutdown web.1/2
        create web.1/3 ready on a
        wake in 5 s
        wake in 5 s
        --
        running web.1/3
        --
        shutdown web.1/3
        create web.1/4 ready on a
        wake in 5 s
        wake in 5 s
        --
        running web.1/4
        --
        shutdown web.1/4
        create web.1/5 ready on a
        wake in 5 s
        wake in 5 s
        --
        running web.1/5
        --
        shutdown web.1/5
        create web.1/6 ready on a
        wake in 5 s
        wake in 5 s
        --
        running web.1/6
        --
        shutdown web.1/6
        forget web.1/1
        create web.1/7 ready on a
        wake in 5 s
        wake in 5 s
        --
        running web.1/7
        --
        web.1/2 on a: failed, wanted shutdown
        web.1/3 on a: failed, wanted shutdown
        web.1/4 on a: failed, wanted shutdown
        web.1/5 on a: failed, wanted shutdown
        web.1/6 on a: failed, wanted shutdown
        web.1/7 on a: running, wanted running
    "#]],
    );
}

#[test]
fn the_successor_of_a_lost_task_starts_at_once() {
    check(
        "node a\nnode b\nservice web replicas=2\nrun\ndown a\nplan\nagents\nplan
         up a\nrun\nshow web",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on b
            --
            shutdown web.1/1
            create web.1/2 running on b
            wake in 86400 s
            --
            wake in 86400 s
            --
            --
            web.1/1 on a: shutdown, wanted shutdown
            web.1/2 on b: running, wanted running
            web.2/1 on b: running, wanted running
        "#]],
    );
}

#[test]
fn tasks_of_a_node_that_stays_away_are_given_up() {
    check(
        "node a\nservice web replicas=1\nrun\ndown a\nplan\nafter 86399\nplan\nafter 1\nplan",
        expect![[r#"
            create web.1/1 running on a
            --
            shutdown web.1/1
            create web.1/2 running waits: no suitable node (2 nodes not available for new tasks)
            wake in 86400 s
            --
            wake in 1 s
            --
            orphan web.1/1
        "#]],
    );
}

#[test]
fn a_removed_node_orphans_its_tasks() {
    check(
        "node a\nnode b\nservice web replicas=1\nservice all global\nrun\nrm a\nplan",
        expect![[r#"
            create all.a/1 running on a
            create all.b/1 running on b
            create web.1/1 running on a
            --
            remove all.a/1
            forget all.a/1
            shutdown web.1/1
            create web.1/2 running on b
        "#]],
    );
}

#[test]
fn suspects_keep_their_tasks_and_get_none() {
    check(
        "node a\nnode b\nservice web replicas=1\nrun\nsuspect a\nupdate web replicas=3\nplan",
        expect![[r#"
            create web.1/1 running on a
            --
            create web.2/1 running on b
            create web.3/1 running on b
        "#]],
    );
}

#[test]
fn draining_moves_tasks_without_delay() {
    check(
        "node a\nnode b\nservice web replicas=2\nrun\ndrain a\nplan\nagents\nplan",
        expect![[r#"
        create web.1/1 running on a
        create web.2/1 running on b
        --
        shutdown web.1/1
        create web.1/2 ready on b
        wake in 60 s
        --
        running web.1/2
    "#]],
    );
}

#[test]
fn pausing_keeps_tasks_and_adds_none() {
    check(
        "node a\nnode b\nservice web replicas=2\nrun\npause a\nupdate web replicas=4\nplan",
        expect![[r#"
            create web.1/1 running on a
            create web.2/1 running on b
            --
            create web.3/1 running on b
            create web.4/1 running on b
        "#]],
    );
}

#[test]
fn a_global_service_follows_the_nodes() {
    check(
        "node a\nnode b\nservice all global constraint=node.labels.no!=thanks\nrun
         node c\nrun\nlabel c no=thanks\nrun\ndown a\nrun\nup a\nrun\ndrain b\nrun\nshow all",
        expect![[r#"
            create all.a/1 running on a
            create all.b/1 running on b
            --
            create all.c/1 running on c
            --
            shutdown all.c/1
            --
            shutdown all.a/1
            wake in 86400 s
            wake in 86400 s
            --
            create all.a/2 running on a
            --
            shutdown all.b/1
            --
            all.a/1 on a: shutdown, wanted shutdown
            all.a/2 on a: running, wanted running
            all.b/1 on b: shutdown, wanted shutdown
            all.c/1 on c: shutdown, wanted shutdown
        "#]],
    );
}
