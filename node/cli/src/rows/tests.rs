//! Tables as Docker's CLI prints them.

use expect_test::{Expect, expect};

use super::*;

const NOW: &str = "2026-11-23T07:27:01Z";

fn tasks(json: &str) -> Vec<Task> {
    serde_json::from_str(json).unwrap()
}

fn context(no_trunc: bool) -> TaskContext {
    let map = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    TaskContext {
        services: map("s1", "web"),
        nodes: map("n1", "node1"),
        no_trunc,
        now_unix_nanos: api::wire::time::parse(NOW).unwrap(),
    }
}

#[track_caller]
fn check_tasks(no_trunc: bool, after: Expect) {
    let tasks = tasks(
        r#"[
        {"ID":"um4x2uhqg33txdi1u7l2pqrag","CreatedAt":"2026-11-23T07:26:00Z","ServiceID":"s1","Slot":10,
         "NodeID":"n1","DesiredState":"running","Spec":{"ContainerSpec":{"Image":"bb:1@sha256:ab"}},
         "Status":{"Timestamp":"2026-11-23T07:26:04Z","State":"running"}},
        {"ID":"igxe5l7j1x93qrpax83xe9koy","CreatedAt":"2026-11-23T07:26:00Z","ServiceID":"s1","Slot":2,
         "NodeID":"n1","DesiredState":"shutdown","Spec":{"ContainerSpec":{"Image":"bb:1"}},
         "Status":{"Timestamp":"2026-11-23T07:26:56Z","State":"failed",
                   "Err":"starting container failed: no such file or directory"}},
        {"ID":"t2y1uscynjohfblwoxj9wp7sc","CreatedAt":"2026-11-23T07:26:57Z","ServiceID":"s1","Slot":2,
         "DesiredState":"running","Spec":{"ContainerSpec":{"Image":"bb:1"}},
         "Status":{"Timestamp":"2026-11-23T07:27:01Z","State":"pending",
                   "PortStatus":{"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"host"}]}}}
        ]"#,
    );
    let rows = context(no_trunc).rows(&tasks, true);
    after.assert_eq(&TASKS.render(&rows, None, false).unwrap());
}

#[test]
fn tasks_are_listed_with_their_history() {
    check_tasks(
        false,
        expect![[r#"
            ID             NAME        IMAGE     NODE      DESIRED STATE   CURRENT STATE                    ERROR                              PORTS
            t2y1uscynjoh   web.2       bb:1                Running         Pending less than a second ago                                      *:8080->80/tcp
            igxe5l7j1x93    \_ web.2   bb:1      node1     Shutdown        Failed 5 seconds ago             "starting container failed: no…"   
            um4x2uhqg33t   web.10      bb:1      node1     Running         Running 57 seconds ago                                              
        "#]],
    );
    check_tasks(
        true,
        expect![[r#"
        ID                          NAME        IMAGE            NODE      DESIRED STATE   CURRENT STATE                    ERROR                                                    PORTS
        t2y1uscynjohfblwoxj9wp7sc   web.2       bb:1                       Running         Pending less than a second ago                                                            *:8080->80/tcp
        igxe5l7j1x93qrpax83xe9koy    \_ web.2   bb:1             node1     Shutdown        Failed 5 seconds ago             "starting container failed: no such file or directory"   
        um4x2uhqg33txdi1u7l2pqrag   web.10      bb:1@sha256:ab   node1     Running         Running 57 seconds ago                                                                    
    "#]],
    );
}

#[track_caller]
fn check_services(json: &str, after: Expect) {
    let services: Vec<Service> = serde_json::from_str(json).unwrap();
    let rows: Vec<_> = services.iter().map(service).collect();
    after.assert_eq(&SERVICES.render(&rows, None, false).unwrap());
}

#[test]
fn services_are_listed_with_counts_and_ports() {
    check_services(
        "[]",
        expect![[r#"
        ID        NAME      MODE      REPLICAS   IMAGE     PORTS
    "#]],
    );
    check_services(
        r#"[
        {"ID":"hnr5jtiraoyki3a2fyksqy38b","Spec":{"Name":"big","Mode":{"Replicated":{"Replicas":1}},
         "TaskTemplate":{"ContainerSpec":{"Image":"localhost:5000/bb@sha256:ab"},"Placement":{"MaxReplicas":2}}},
         "ServiceStatus":{"RunningTasks":0,"DesiredTasks":1},
         "Endpoint":{"Ports":[
            {"Protocol":"tcp","TargetPort":81,"PublishedPort":8081,"PublishMode":"ingress"},
            {"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"},
            {"Protocol":"tcp","TargetPort":90,"PublishedPort":8090,"PublishMode":"ingress"},
            {"Protocol":"udp","TargetPort":82,"PublishedPort":8082,"PublishMode":"host"}]}},
        {"ID":"p8yq6tdxpmbg350s8iexovgoe","Spec":{"Name":"job1","Mode":{"ReplicatedJob":{"TotalCompletions":3}},
         "TaskTemplate":{"ContainerSpec":{"Image":"bb:1"}}},
         "ServiceStatus":{"DesiredTasks":2,"CompletedTasks":3}},
        {"ID":"jkdb9bw613zh7wcxuivqae3jk","Spec":{"Name":"glob","Mode":{"Global":{}},
         "TaskTemplate":{"ContainerSpec":{"Image":"bb:1"}}},
         "ServiceStatus":{"RunningTasks":1,"DesiredTasks":1}}
        ]"#,
        expect![[r#"
            ID             NAME      MODE             REPLICAS               IMAGE                         PORTS
            hnr5jtiraoyk   big       replicated       0/1 (max 2 per node)   localhost:5000/bb@sha256:ab   *:8080-8081->80-81/tcp, *:8090->90/tcp
            p8yq6tdxpmbg   job1      replicated job   0/2 (3/3 completed)    bb:1                          
            jkdb9bw613zh   glob      global           1/1                    bb:1                          
        "#]],
    );
}

#[test]
fn nodes_are_listed_with_a_star_for_this_one() {
    let nodes: Vec<Node> = serde_json::from_str(
        r#"[
        {"ID":"iaahyiav1xnypit1xoyqfy1ls","Spec":{"Availability":"active"},"Status":{"State":"ready"},
         "Description":{"Hostname":"node1","Engine":{"EngineVersion":"0.1.0"}},
         "ManagerStatus":{"Leader":true,"Reachability":"reachable"}},
        {"ID":"rpnq9f7w60yrbjymh3krw2tdc","Spec":{"Availability":"drain"},"Status":{"State":"down"},
         "Description":{"Hostname":"node2","Engine":{"EngineVersion":"0.1.0"}},
         "ManagerStatus":{"Reachability":"unreachable"}},
        {"ID":"ftjval3a7x1ewndskj4091neu","Spec":{"Availability":"active"},"Status":{"State":"ready"},
         "Description":{"Hostname":"node3","Engine":{"EngineVersion":"0.1.0"}}}
        ]"#,
    )
    .unwrap();
    let rows: Vec<_> = nodes.iter().map(|one| node(one, "iaahyiav1xnypit1xoyqfy1ls")).collect();
    expect![[r#"
        ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION
        iaahyiav1xnypit1xoyqfy1ls *   node1      Ready     Active         Leader           0.1.0
        rpnq9f7w60yrbjymh3krw2tdc     node2      Down      Drain          Unreachable      0.1.0
        ftjval3a7x1ewndskj4091neu     node3      Ready     Active                          0.1.0
    "#]].assert_eq(&NODES.render(&rows, None, false).unwrap());
}

#[test]
fn names_are_sorted_as_people_count() {
    let mut names = ["web.10", "web.2", "api", "web", "web.1"];
    names.sort_by(|a, b| natural(a, b));
    assert_eq!(names, ["api", "web", "web.1", "web.2", "web.10"]);
}
