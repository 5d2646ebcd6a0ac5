//! The routes over a node that keeps two services in memory, with and without a leader elsewhere.

mod files;

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use expect_test::{Expect, expect};
use http::Method;
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::*;
use crate::client::{Client, LogsOf, LogsShown};
use crate::cluster::{
    Caller, Engine, EventsWanted, Listed, LogLine, LogOptions, LogSource, LogStream, NewService,
    Problem, ProblemKind, Pull, Route, ServiceUpdate, SwarmState, Upload,
};
use crate::filters::Filters;
use crate::lookup;
use crate::wire::event::Event;
use crate::wire::image::{ImageDeleted, ImageProgress, ImageSummary};
use crate::wire::local::{ContainerDetails, ContainerSummary};
use crate::wire::network::{Network, NetworkCreated, NetworksPruned, NewNetwork};
use crate::wire::node::NodeSpec;
use crate::wire::service::{Service, ServiceSpec};
use crate::wire::status::StatusReport;
use crate::wire::swarm::{InitRequest, JoinRequest, Rotate, Swarm, SwarmSpec, UnlockKey};
use crate::wire::system::{Info, Version};
use crate::wire::task::Task;
use crate::wire::{Created, Updated};

/// How a fake node finds the leader.
#[derive(Clone, Debug)]
enum Leads {
    Itself,
    Nobody,
    Other(Arc<Fake>),
}

#[derive(Debug)]
struct Fake {
    leads: Leads,
    /// A Docker Engine behind it.
    engine: Option<Engine>,
    /// So many writes are first answered "not confirmed".
    unconfirmed: AtomicU32,
    /// So many requests are first answered "not leader".
    deposed: AtomicU32,
    seen: std::sync::Mutex<Vec<String>>,
    /// The other end of followed logs.
    followed: std::sync::Mutex<Option<mpsc::Sender<LogLine>>>,
}

impl Fake {
    fn new(leads: Leads) -> Arc<Self> {
        Arc::new(Self {
            leads,
            engine: None,
            unconfirmed: AtomicU32::new(0),
            deposed: AtomicU32::new(0),
            seen: std::sync::Mutex::default(),
            followed: std::sync::Mutex::default(),
        })
    }

    fn note(&self, text: String) {
        self.seen.lock().unwrap().push(text);
    }

    fn services() -> [Service; 2] {
        ["web", "db"].map(|name| {
            let spec = ServiceSpec { name: name.to_owned(), ..ServiceSpec::default() };
            Service { id: format!("{name}id"), spec, ..Service::default() }
        })
    }
}

fn count_down(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[async_trait::async_trait]
impl crate::cluster::Containers for Fake {
    async fn containers(&self) -> Result<Vec<ContainerSummary>, Problem> {
        let one = |name: &str, state: &str| ContainerSummary {
            id: format!("{name}id"),
            names: vec![format!("/{name}")],
            state: state.to_owned(),
            ..ContainerSummary::default()
        };
        Ok(vec![one("web.1", "running"), one("web.2", "exited")])
    }

    async fn container(&self, reference: &str) -> Result<ContainerDetails, Problem> {
        Err(Problem::new(404, format!("No such container: {reference}")))
    }

    async fn container_logs(&self, _: &str, _: LogOptions) -> Result<LogStream, Problem> {
        Ok(LogStream { tty: false, lines: mpsc::channel(1).1 })
    }
}

impl crate::cluster::Engines for Fake {
    fn engine(&self) -> Option<Engine> {
        self.engine.clone()
    }
}

#[async_trait::async_trait]
impl crate::cluster::Events for Fake {
    async fn events(&self, _: EventsWanted) -> Result<mpsc::Receiver<Event>, Problem> {
        let (sender, events) = mpsc::channel(1);
        let event = Event { kind: "service".to_owned(), ..Event::default() };
        sender.try_send(event).map_err(|error| Problem::new(500, error.to_string()))?;
        Ok(events)
    }
}

#[async_trait::async_trait]
impl crate::cluster::Networks for Fake {
    async fn networks(&self, _: &Caller) -> Result<Vec<Network>, Problem> {
        Ok(vec![Network {
            name: "ov1".to_owned(),
            id: "ov1id".to_owned(),
            scope: "swarm".to_owned(),
            ..Network::default()
        }])
    }

    async fn network(&self, caller: &Caller, reference: &str) -> Result<Network, Problem> {
        let all = self.networks(caller).await?;
        let all = all.iter().map(|network| (&*network.id, &*network.name, network));
        lookup::find("network", reference, all).cloned()
    }

    async fn create_network(&self, _: &Caller, new: NewNetwork) -> Result<NetworkCreated, Problem> {
        self.note(format!("network {}", new.name));
        Ok(NetworkCreated { id: "new".to_owned(), warning: String::new() })
    }

    async fn remove_network(&self, caller: &Caller, reference: &str) -> Result<(), Problem> {
        self.network(caller, reference).await.map(|_| ())
    }

    async fn prune_networks(&self, _: &Caller, _: &Filters) -> Result<NetworksPruned, Problem> {
        Ok(NetworksPruned::default())
    }

    fn local_networks(&self) -> Vec<Network> {
        vec![Network {
            name: "gw".to_owned(),
            id: "gwid".to_owned(),
            scope: "local".to_owned(),
            ..Network::default()
        }]
    }
}

#[async_trait::async_trait]
impl Cluster for Fake {
    fn swarm_state(&self) -> SwarmState {
        SwarmState::Manager
    }

    async fn route(&self, _: &Caller, write: bool) -> Result<Route, Problem> {
        match &self.leads {
            Leads::Itself => Ok(Route::Here),
            Leads::Nobody if write => std::future::pending().await,
            Leads::Nobody => Ok(Route::Stale),
            Leads::Other(leader) => {
                let (here, there) = tokio::io::duplex(1 << 16);
                let server = Server::new(Arc::clone(leader) as Node, "0.1.0");
                let origin = Origin::Node("n2".to_owned());
                let stop = CancellationToken::new();
                let serve = server.serve_io(there, origin, Limits::default(), stop);
                #[expect(clippy::disallowed_methods, reason = "a test is its own supervisor")]
                drop(tokio::spawn(serve));
                Ok(Route::There(Box::new(here)))
            }
        }
    }

    async fn version(&self) -> Result<Version, Problem> {
        Ok(Version { version: "0.1.0".to_owned(), ..Version::default() })
    }

    async fn info(&self) -> Result<Info, Problem> {
        Ok(Info::default())
    }

    async fn status(&self) -> Result<StatusReport, Problem> {
        Ok(StatusReport::default())
    }

    async fn leave(&self, _: &Caller, force: bool) -> Result<(), Problem> {
        self.note(format!("leave force={force}"));
        Ok(())
    }

    async fn swarm(&self, _: &Caller) -> Result<Swarm, Problem> {
        Ok(Swarm::default())
    }

    async fn init_swarm(&self, _: InitRequest) -> Result<String, Problem> {
        Err(Problem::already_member())
    }

    async fn join_swarm(&self, _: JoinRequest) -> Result<(), Problem> {
        Err(Problem::already_member())
    }

    async fn update_swarm(
        &self,
        _: &Caller,
        version: u64,
        spec: SwarmSpec,
        rotate: Rotate,
    ) -> Result<(), Problem> {
        self.note(format!("update swarm {version} {} {rotate:?}", spec.name));
        Ok(())
    }

    async fn unlock_key(&self, _: &Caller) -> Result<UnlockKey, Problem> {
        Ok(UnlockKey::default())
    }

    async fn unlock(&self, _: UnlockKey) -> Result<(), Problem> {
        Err(Problem::conflict("swarm is not locked"))
    }

    async fn revoke_token(&self, _: &Caller, id: &str) -> Result<(), Problem> {
        self.note(format!("revoke {id}"));
        Ok(())
    }

    async fn nodes(&self, _: &Caller, _: &Filters) -> Result<Listed, Problem> {
        Listed::of::<crate::wire::node::Node>(&[])
    }

    async fn node(&self, _: &Caller, reference: &str) -> Result<crate::wire::node::Node, Problem> {
        Err(Problem::not_found("node", reference))
    }

    async fn update_node(
        &self,
        _: &Caller,
        reference: &str,
        version: u64,
        spec: NodeSpec,
    ) -> Result<(), Problem> {
        self.note(format!("update {reference} at {version}: {}", spec.availability));
        Ok(())
    }

    async fn remove_node(&self, _: &Caller, reference: &str, force: bool) -> Result<(), Problem> {
        self.note(format!("remove {reference} force={force}"));
        Ok(())
    }

    async fn services(&self, _: &Caller, filters: &Filters, _: bool) -> Result<Listed, Problem> {
        let all = Self::services().into_iter();
        let wanted = all.filter(|service| filters.accepts_prefix("name", &service.spec.name));
        Listed::of(&wanted.collect::<Vec<_>>())
    }

    async fn service(&self, _: &Caller, reference: &str) -> Result<Service, Problem> {
        let all = Self::services();
        let all = all.iter().map(|service| (&*service.id, &*service.spec.name, service));
        lookup::find("service", reference, all).cloned()
    }

    async fn create_service(&self, caller: &Caller, new: NewService) -> Result<Created, Problem> {
        if count_down(&self.deposed) {
            return Err(Problem::not_leader());
        }
        let origin = &caller.origin;
        self.note(format!("create {} by {origin:?} as {}", new.spec.name, caller.request));
        if count_down(&self.unconfirmed) {
            return Err(Problem::unconfirmed(caller.request));
        }
        Ok(Created { id: "new".to_owned(), warnings: Vec::new() })
    }

    async fn update_service(
        &self,
        _: &Caller,
        reference: &str,
        update: ServiceUpdate,
    ) -> Result<Updated, Problem> {
        self.note(format!("update {reference} at {} {}", update.version, update.rollback));
        Ok(Updated::default())
    }

    async fn remove_service(&self, _: &Caller, reference: &str) -> Result<(), Problem> {
        self.note(format!("remove {reference}"));
        Ok(())
    }

    async fn service_logs(
        &self,
        _: &Caller,
        reference: &str,
        options: LogOptions,
    ) -> Result<LogStream, Problem> {
        let (sender, lines) = mpsc::channel(8);
        if options.follow {
            *self.followed.lock().unwrap() = Some(sender.clone());
        }
        for (source, line) in [(LogSource::Stdout, "out\n"), (LogSource::Stderr, "err\n")] {
            let line = LogLine {
                at_unix_nanos: 1,
                source,
                node: "n".to_owned(),
                service: reference.to_owned(),
                task: "t".to_owned(),
                line: Bytes::from_static(line.as_bytes()),
            };
            sender.try_send(line).unwrap();
        }
        Ok(LogStream { tty: false, lines })
    }

    async fn tasks(&self, _: &Caller, _: &Filters) -> Result<Listed, Problem> {
        Listed::of::<Task>(&[])
    }

    async fn task(&self, _: &Caller, reference: &str) -> Result<Task, Problem> {
        Err(Problem::not_found("task", reference))
    }

    async fn task_logs(
        &self,
        _: &Caller,
        reference: &str,
        _: LogOptions,
    ) -> Result<LogStream, Problem> {
        Err(Problem::not_found("task", reference))
    }

    async fn images(&self, _: &Filters) -> Result<Vec<ImageSummary>, Problem> {
        Ok(Vec::new())
    }

    async fn load_image(&self, mut tar: Upload) -> Result<mpsc::Receiver<ImageProgress>, Problem> {
        let mut bytes = Vec::new();
        tar.read_to_end(&mut bytes).await.map_err(|error| Problem::new(500, error.to_string()))?;
        let (sender, lines) = mpsc::channel(1);
        let stream = format!("Loaded {} bytes\n", bytes.len());
        sender.try_send(ImageProgress { stream, ..ImageProgress::default() }).unwrap();
        Ok(lines)
    }

    async fn pull_image(&self, pull: Pull) -> Result<mpsc::Receiver<ImageProgress>, Problem> {
        self.note(format!("pull {}", pull.reference));
        Ok(mpsc::channel(1).1)
    }

    async fn remove_image(
        &self,
        reference: &str,
        force: bool,
    ) -> Result<Vec<ImageDeleted>, Problem> {
        self.note(format!("remove image {reference} force={force}"));
        Ok(Vec::new())
    }
}

/// Sends a request and shows the answer; headers as far as they are ours to choose.
async fn show(fake: &Arc<Fake>, method: Method, path: &str, body: &'static str) -> String {
    let server = Server::new(Arc::clone(fake) as Node, "0.1.0");
    let mut request = Request::builder().method(method).uri(path);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let response = server.answer(request.body(Body::from(body)).unwrap(), Origin::Socket).await;
    let status = response.status().as_u16();
    let mut headers = String::new();
    for name in ["api-version", "content-type", "server", "swarm", "skep-problem", "skep-stale"] {
        if let Some(value) = response.headers().get(name) {
            headers += &format!("{name}: {}\n", value.to_str().unwrap());
        }
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    format!("{status}\n{headers}{}", String::from_utf8_lossy(&body))
}

async fn check(method: Method, path: &str, body: &'static str, after: Expect) {
    after.assert_eq(&show(&Fake::new(Leads::Itself), method, path, body).await);
}

#[tokio::test]
async fn what_every_client_asks_first_is_answered_as_docker_does() {
    let after = expect![[r#"
        200
        api-version: 1.50
        content-type: text/plain; charset=utf-8
        server: Skep/0.1.0 (linux)
        swarm: active/manager
        OK"#]];
    check(Method::GET, "/_ping", "", after).await;
    let after = expect![[r#"
        200
        api-version: 1.50
        content-type: application/json
        server: Skep/0.1.0 (linux)
        {"Version":"0.1.0","ApiVersion":"","GitCommit":"","GoVersion":"","Os":"","Arch":""}
    "#]];
    check(Method::GET, "/v1.41/version", "", after).await;
}

#[tokio::test]
async fn what_is_unknown_is_not_found_and_says_nothing_of_us() {
    let after = expect![[r#"
        404
        content-type: application/json
        {"message":"page not found"}
    "#]];
    let mut shown = String::new();
    for (method, path) in [
        (Method::GET, "/nosuch"),
        (Method::GET, "/vfoo/version"),
        (Method::POST, "/info"),
        (Method::DELETE, "/services"),
    ] {
        let answer = show(&Fake::new(Leads::Itself), method, path, "").await;
        assert!(shown.is_empty() || shown == answer, "{path}: {answer}");
        shown = answer;
    }
    after.assert_eq(&shown);
}

#[tokio::test]
async fn versions_and_filters_are_refused_in_dockers_words() {
    for (path, message) in [
        ("/v1.99/version", "client version 1.99 is too new. Maximum supported API version is 1.50"),
        (
            "/v1.10/version",
            "client version 1.10 is too old. Minimum supported API version is 1.24, please \
             upgrade your client to a newer version",
        ),
        ("/services?filters=%7B%22bogus%22%3A%5B%22x%22%5D%7D", "invalid filter 'bogus'"),
        ("/services/nosuch", "service nosuch not found"),
        ("/services/web/logs", "Bad parameters: you must choose at least one stream"),
    ] {
        let shown = show(&Fake::new(Leads::Itself), Method::GET, path, "").await;
        assert!(shown.contains(message), "{path}: {shown}");
    }
}

#[tokio::test]
async fn bodies_are_checked() {
    for (body, message) in [
        ("{\"Name\":\"web\"}", "{\"ID\":\"new\",\"Warnings\":null}\n"),
        ("{\"Name\":7}", "invalid JSON: invalid type: integer `7`, expected a string"),
        ("{} {}", "invalid JSON: trailing characters"),
    ] {
        let fake = Fake::new(Leads::Itself);
        let shown = show(&fake, Method::POST, "/services/create", body).await;
        assert!(shown.contains(message), "{body}: {shown}");
    }
    let server = Server::new(Fake::new(Leads::Itself), "0.1.0");
    let request = Request::post("/services/create").header("content-type", "text/plain");
    let response = server.answer(request.body(Body::from("{}")).unwrap(), Origin::Socket).await;
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn a_request_about_the_cluster_goes_to_the_leader_and_keeps_its_id() {
    let leader = Fake::new(Leads::Itself);
    leader.deposed.store(2, Ordering::SeqCst);
    let fake = Fake::new(Leads::Other(Arc::clone(&leader)));
    let shown = show(&fake, Method::POST, "/v1.41/services/create", "{\"Name\":\"web\"}").await;
    assert!(shown.starts_with("201"), "{shown}");
    let seen = leader.seen.lock().unwrap().join("\n");
    assert!(seen.starts_with("create web by Node(\"n2\") as "), "{seen}");
    assert!(fake.seen.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_reads_are_marked_and_writes_are_answered() {
    let fake = Fake::new(Leads::Nobody);
    let read = show(&fake, Method::GET, "/nodes", "").await;
    assert!(read.contains("skep-stale: true") && read.ends_with("[]\n"), "{read}");
    let begun = tokio::time::Instant::now();
    let write = show(&fake, Method::DELETE, "/services/web", "").await;
    assert!(write.contains("skep-problem: no-leader"), "{write}");
    assert!(write.contains("nothing was changed"), "{write}");
    assert!(begun.elapsed() <= Duration::from_millis(2_100), "{:?}", begun.elapsed());
}

/// A socket with a server behind it.
async fn with_client<F: Future<Output = ()>>(fake: &Arc<Fake>, work: impl FnOnce(Client) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("skep.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let server = Server::new(Arc::clone(fake) as Node, "0.1.0");
    let stop = CancellationToken::new();
    let serve = server.serve(listener, Limits::default(), stop.clone());
    let work = async {
        work(Client::new(socket.clone())).await;
        stop.cancel();
    };
    tokio::join!(serve, work);
}

#[tokio::test]
async fn the_client_repeats_an_unconfirmed_write_with_its_id() {
    let fake = Fake::new(Leads::Itself);
    fake.unconfirmed.store(2, Ordering::SeqCst);
    with_client(&fake, |client| async move {
        let spec = ServiceSpec { name: "web".to_owned(), ..ServiceSpec::default() };
        let created = client.create_service(&spec, None).await.unwrap();
        assert_eq!(created.id, "new");
    })
    .await;
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|line| *line == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn the_client_reads_what_the_server_writes() {
    let fake = Fake::new(Leads::Itself);
    with_client(&fake, |client| async move {
        let filters = Filters::default().and("name", "we");
        assert_eq!(client.services(&filters, true).await.unwrap().len(), 1);
        let service = client.service("web", true).await.unwrap();
        assert_eq!(service.spec.update_config.unwrap().failure_action, "pause");
        let error = client.service("a/b c%", false).await.unwrap_err();
        assert_eq!(error.to_string(), "service a/b c% not found");
        let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
        let shown = LogsShown::default();
        let mut logs = client.logs(LogsOf::Service("web"), options, shown).await.unwrap();
        let first = logs.next().await.unwrap().unwrap();
        assert_eq!((first.source, &first.line[..]), (LogSource::Stdout, &b"out\n"[..]));
        assert_eq!(logs.next().await.unwrap().unwrap().source, LogSource::Stderr);
        assert_eq!(logs.next().await.unwrap(), None);
        let tar = std::io::Cursor::new(vec![7; 3_000_000]);
        let mut lines = client.load_image(Box::pin(tar)).await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().stream, "Loaded 3000000 bytes\n");
        assert_eq!(lines.next().await.unwrap(), None);
        client.remove_image("localhost:5000/a/b:1", true).await.unwrap();
    })
    .await;
    let seen = fake.seen.lock().unwrap().join("\n");
    assert_eq!(seen, "remove image localhost:5000/a/b:1 force=true");
}

#[tokio::test]
async fn a_client_that_hangs_up_ends_the_logs_it_followed_here_and_at_the_leader() {
    let alone = Fake::new(Leads::Itself);
    let leader = Fake::new(Leads::Itself);
    let other = Fake::new(Leads::Other(Arc::clone(&leader)));
    for (asked, leads) in [(&alone, &alone), (&other, &leader)] {
        with_client(asked, |client| async move {
            let options = LogOptions { stdout: true, follow: true, ..LogOptions::default() };
            let shown = LogsShown::default();
            let mut logs = client.logs(LogsOf::Service("web"), options, shown).await.unwrap();
            logs.next().await.unwrap().unwrap();
            let sender = leads.followed.lock().unwrap().clone().unwrap();
            assert!(!sender.is_closed());
            drop(logs);
            sender.closed().await;
        })
        .await;
    }
}

#[tokio::test]
async fn another_node_may_ask_what_a_leader_answers_and_no_more() {
    let server = Server::new(Fake::new(Leads::Itself), "0.1.0");
    for (path, status) in [("/services", 200), ("/images/json", 404), ("/info", 404)] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = server.answer(request, Origin::Node("n2".to_owned())).await;
        assert_eq!(response.status(), status, "{path}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let error = Client::new("/nonexistent/skep.sock".into()).info().await.unwrap_err();
    let text = "cannot connect to the skep daemon at unix:///nonexistent/skep.sock";
    assert_eq!(error.to_string(), text);
    assert_eq!(error.problem().map(|problem| problem.kind), None::<ProblemKind>);
}

#[tokio::test]
async fn without_an_engine_containers_are_shown_and_the_rest_is_refused() {
    for (method, path, expected) in [
        (Method::GET, "/containers/json", "web.1id"),
        (Method::GET, "/containers/json?all=1", "web.2id"),
        (Method::GET, "/containers/nosuch/json", "No such container: nosuch"),
        (Method::GET, "/images/nosuch/json", "No such image: nosuch:latest"),
        (Method::GET, "/volumes/v", "get v: no such volume"),
        (Method::GET, "/containers/a/b/json", "No such container: a/b"),
        (Method::GET, "/networks/a/b", "network a/b not found"),
        (Method::GET, "/volumes", "501"),
        (Method::POST, "/containers/create", "501"),
        (Method::GET, "/distribution/bb/json", "use service create"),
        (Method::GET, "/networks", "ov1id"),
        (Method::GET, "/networks", "gwid"),
        (Method::GET, "/networks?filters=%7B%22scope%22%3A%5B%22swarm%22%5D%7D", "ov1id"),
        (Method::GET, "/networks/gw", "gwid"),
        (Method::GET, "/networks/nosuch", "network nosuch not found"),
        (Method::GET, "/networks/gw?scope=swarm", "network gw not found"),
        (Method::DELETE, "/networks/gw", "gw is a pre-defined network"),
        (Method::DELETE, "/networks/ov1", "204"),
        (Method::POST, "/networks/prune", "{\"NetworksDeleted\":null}"),
        (Method::GET, "/events?until=1", "\"Type\":\"service\""),
    ] {
        let shown = show(&Fake::new(Leads::Itself), method, path, "").await;
        assert!(shown.contains(expected), "{path}: {shown}");
    }
    let create =
        async |body| show(&Fake::new(Leads::Itself), Method::POST, "/networks/create", body).await;
    for (body, expected) in [
        (r#"{"Name":"a","Driver":"overlay"}"#, "201"),
        (r#"{"Name":"","Driver":"overlay"}"#, "invalid name: name is empty"),
        (r#"{"Name":"a","Driver":"odd"}"#, "plugin \\\"odd\\\" not found"),
        (r#"{"Name":"a"}"#, "501"),
    ] {
        let shown = create(body).await;
        assert!(shown.contains(expected), "{body}: {shown}");
    }
}

/// A socket that answers one request with these bytes, then sends back what it gets.
async fn engine(listener: UnixListener, answer: &'static str) -> String {
    use tokio::io::AsyncWriteExt;

    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    stream.write_all(&rest).await.unwrap();
    String::from_utf8(head).unwrap()
}

/// What a client reads that sends `bytes` to a node with an engine, and closes its side.
async fn through(bytes: &str, answer: &'static str) -> (String, String) {
    use tokio::io::AsyncWriteExt;

    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut fake = Fake::new(Leads::Itself);
    Arc::get_mut(&mut fake).unwrap().engine = Some(Engine { socket, api_version: (1, 41) });
    let server = Server::new(fake, "0.1.0");
    let (mut client, there) = tokio::io::duplex(1 << 16);
    let stop = CancellationToken::new();
    let serve = server.serve_io(there, Origin::Socket, Limits::default(), stop);
    let ask = async {
        client.write_all(bytes.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(client.read_u8().await.unwrap());
        }
        if seen.starts_with(b"HTTP/1.1 101") {
            client.write_all(b"typed").await.unwrap();
        }
        client.shutdown().await.unwrap();
        client.read_to_end(&mut seen).await.unwrap();
        String::from_utf8(seen).unwrap()
    };
    let ((), asked, seen) = tokio::join!(serve, engine(listener, answer), ask);
    (asked, seen)
}

#[tokio::test]
async fn a_connection_that_an_engine_takes_over_is_joined_both_ways() {
    let (asked, seen) = through(
        "POST /v1.41/exec/1/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\n\
         Upgrade: tcp\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\
         Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    )
    .await;
    assert!(asked.starts_with("POST /v1.41/exec/1/start HTTP/1.1\r\n"), "{asked}");
    assert!(seen.starts_with("HTTP/1.1 101"), "{seen}");
    assert!(seen.ends_with("typed"), "{seen}");
}

#[tokio::test]
async fn an_engine_answers_what_is_its_own() {
    let (asked, seen) = through(
        "GET /containers/json?all=1 HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n\
         Content-Length: 2\r\n\r\n[]",
    )
    .await;
    // Without a version, the newest that both speak.
    assert!(asked.starts_with("GET /v1.41/containers/json?all=1 HTTP/1.1\r\n"), "{asked}");
    assert!(seen.contains("Docker/20.10.24") && seen.ends_with("[]"), "{seen}");
}
