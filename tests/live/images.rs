//! Where images come from: archives, directories, registries with and without a login.

use serde_json::{Value, json};
use tests::live::{Kind, Lab, brief, curl, has, possible};
use tests::live_images::{self, Image, PASSWORD, Registry, USER};
use tests::live_net::address;

use crate::{HEALED, MOVED};

const PORT: u16 = 8080;

fn can_make_images() -> bool {
    possible() && live_images::possible()
}

fn create(lab: &Lab, image: &[&str], more: &[&str]) -> Result<String, String> {
    let port = format!("{PORT}:80");
    let create = ["service", "create", "--detach", "--name", "web", "--publish", &port];
    // As process 1 busybox would not hear SIGTERM.
    let kill = ["--stop-signal", "SIGKILL"];
    lab.skep_on(1, &[create.as_slice(), &kill, more, image].concat())
}

/// Runs an image until its web server says `line`, and removes it.
fn serves(lab: &mut Lab, image: &str, more: &[&str], line: &str) {
    create(lab, &[image], more).unwrap();
    until_it_says(lab, line);
    remove(lab);
}

fn until_it_says(lab: &mut Lab, line: &str) {
    lab.until(&format!("{line} is served"), MOVED, |lab| {
        let tasks = lab.tasks(1)?;
        let said = lab.network.outside(|| curl(address(1), PORT));
        let said =
            said.map_err(|error| format!("{error}; {} {}", brief(&tasks), errors(&tasks)))?;
        (said.trim() == line).then_some(()).ok_or(said)
    });
}

fn remove(lab: &mut Lab) {
    lab.skep_on(1, &["service", "rm", "web"]).unwrap();
    lab.until("its tasks are gone", HEALED, |lab| {
        let tasks = lab.tasks(1)?;
        tasks.is_empty().then_some(()).ok_or_else(|| brief(&tasks))
    });
}

fn errors(tasks: &[Value]) -> String {
    tasks.iter().filter_map(|task| task["Status"]["Err"].as_str()).collect::<Vec<_>>().join("; ")
}

fn names(lab: &Lab) -> String {
    lab.skep_on(1, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).unwrap()
}

#[test]
fn images_come_from_archives_and_directories() {
    if !can_make_images() {
        return;
    }
    let mut lab = Lab::new(1, Kind::Alone);
    lab.form(1);
    let file = |name: &str| lab.dir().join(name);
    let (saved, layout, root) = (file("saved.tar"), file("layout.tar"), file("root"));
    Image::new("from docker save").save("test/saved:1", &saved);
    Image::new("from a layout").layout("example.org:5000/test/layout:2", &layout);
    Image::new("from a directory").unpack(&root);

    let said = lab.skep_on(1, &["image", "load", "-i", &saved.to_string_lossy()]).unwrap();
    assert!(said.contains("Loaded image: test/saved:1"), "{said}");
    serves(&mut lab, "test/saved:1", &[], "from docker save");
    let said = lab.skep_on(1, &["image", "load", "-i", &layout.to_string_lossy()]).unwrap();
    assert!(said.contains("Loaded image: example.org:5000/test/layout:2"), "{said}");
    serves(&mut lab, "example.org:5000/test/layout:2", &[], "from a layout");
    let shown = names(&lab);
    assert!(shown.contains("test/saved:1\n"), "{shown}");
    assert!(shown.contains("example.org:5000/test/layout:2\n"), "{shown}");

    // A directory has no command of its own.
    let image = format!("dir:{}", root.display());
    let line = [&*image, "/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"];
    create(&lab, &line, &[]).unwrap();
    until_it_says(&mut lab, "from a directory");
    remove(&mut lab);

    let said = lab.skep_on(1, &["image", "rm", "test/saved:1"]).unwrap();
    assert!(said.contains("Untagged: test/saved:1"), "{said}");
    let shown = names(&lab);
    assert!(!shown.contains("test/saved") && shown.contains("layout"), "{shown}");
    let refused = lab.skep_on(1, &["image", "rm", "test/saved:1"]).unwrap_err();
    assert!(refused.contains("no image of that name"), "{refused}");
}

#[test]
fn images_come_from_registries() {
    let possible = can_make_images() && has("docker-registry", "docker-registry", "registry");
    if !possible || !has("curl", "curl", "registry") {
        return;
    }
    let mut lab = Lab::new(1, Kind::Alone);
    lab.form(1);
    let open = Registry::start(&lab, 5000, false);
    let closed = Registry::start(&lab, 5001, true);
    let name = open.push(&lab, &Image::new("for everybody"), "web", "latest");
    serves(&mut lab, &name, &[], "for everybody");
    let short = name.trim_end_matches(":latest");
    lab.skep_on(1, &["image", "pull", short]).unwrap();
    assert!(names(&lab).contains(&name), "{}", names(&lab));

    // Without a login: the task says what is wrong.
    let name = closed.push(&lab, &Image::new("for members"), "team/web", "1");
    create(&lab, &[&name], &[]).unwrap();
    lab.until("the pull is refused", MOVED, |lab| {
        let tasks = lab.tasks(1)?;
        let said = errors(&tasks);
        let clear = said.contains("127.0.0.1:5001") && said.contains("log in");
        clear.then_some(()).ok_or_else(|| format!("{} {said}", brief(&tasks)))
    });
    remove(&mut lab);

    // With what the client has.
    write_login(&lab.home());
    serves(&mut lab, &name, &["--with-registry-auth"], "for members");
    // With what the node has.
    let second = closed.push(&lab, &Image::new("for the node"), "team/web", "2");
    write_login(&lab.home_of(1));
    serves(&mut lab, &second, &[], "for the node");
    std::fs::remove_dir_all(lab.home_of(1)).unwrap();
    // With what was sent when the service was created.
    let third = closed.push(&lab, &Image::new("for an update"), "team/web", "3");
    create(&lab, &[&name], &["--with-registry-auth"]).unwrap();
    until_it_says(&mut lab, "for members");
    lab.skep_on(1, &["service", "update", "--detach", "--image", &third, "web"]).unwrap();
    until_it_says(&mut lab, "for an update");
    no_secret_is_shown(&lab);
    remove(&mut lab);
}

fn write_login(home: &std::path::Path) {
    let docker = home.join(".docker");
    std::fs::create_dir_all(&docker).unwrap();
    let login =
        json!({ "auths": { "127.0.0.1:5001": { "username": USER, "password": PASSWORD } } });
    std::fs::write(docker.join("config.json"), login.to_string()).unwrap();
}

/// Nothing that anybody may read has the password, plain or in base64 of any alignment.
fn no_secret_is_shown(lab: &Lab) {
    let inspected = lab.skep_on(1, &["service", "inspect", "web"]).unwrap();
    let tasks = lab.get(1, "/tasks").unwrap().to_string();
    let mut shown = vec![inspected, tasks, lab.log_of(1)];
    // What lies on the disk is sealed.
    for place in ["raft", "agent"] {
        for file in files_of(&lab.data_dir(1).join(place)) {
            shown.push(String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned());
        }
    }
    assert!(5 < shown.len(), "there is nothing on the disk");
    for text in shown {
        let secrets = [PASSWORD, "aHVudGVy", "h1bnRlcj", "odW50ZXIy"];
        let found = secrets.into_iter().find(|secret| text.contains(secret));
        assert_eq!(found, None, "a secret is shown");
    }
}

fn files_of(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_of(&path));
        } else {
            found.push(path);
        }
    }
    found
}
