//! Command lines from end to end, as far as they need no daemon.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;

use clap::Parser;

use super::*;

#[derive(Default)]
struct Fake {
    up: RefCell<Option<UpArgs>>,
}

impl Program for Fake {
    fn up(&self, args: UpArgs) -> Result<(), Failure> {
        *self.up.borrow_mut() = Some(args);
        Ok(())
    }

    fn key_new(&self, out: &Path) -> Result<(), Failure> {
        if out == Path::new("/there") {
            return Err(Failure::new("/there exists; it was not touched"));
        }
        Ok(())
    }

    fn token(&self, role: TokenRole, args: &TokenArgs) -> Result<String, Failure> {
        let role = if role == TokenRole::Worker { "WORKER" } else { "MANAGER" };
        Ok(format!("SKEP-{role} {:?} {:?}", args.expires, args.uses))
    }

    fn token_id(&self, file: &Path) -> Result<String, Failure> {
        Err(Failure::new(format!("{} holds no token", file.display())))
    }

    fn version(&self) -> &'static str {
        "0.1.0"
    }
}

#[derive(Clone, Default)]
struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Exit code, what was printed, and what the daemon was asked to be.
fn say(line: &str) -> (u8, String, Option<UpArgs>) {
    let arguments = std::iter::once("skep").chain(line.split(' '));
    let program = Fake::default();
    let printed = Buffer::default();
    let mut out = Out::to(Box::new(printed.clone()), Box::new(printed.clone()));
    let code = match Args::try_parse_from(arguments) {
        Err(error) => return (exit::USAGE, error.to_string(), None),
        Ok(args) => match execute(args, &program, &mut out) {
            Ok(()) => 0,
            Err(failure) => {
                out.error(&failure);
                failure.code()
            }
        },
    };
    let text = String::from_utf8(printed.0.borrow().clone()).unwrap();
    (code, text, program.up.take())
}

#[track_caller]
fn check(line: &str, code: u8, words: &str) {
    let (got, text, _) = say(line);
    assert_eq!(got, code, "{line}: {text}");
    assert!(text.contains(words), "{line}: {text}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    check("key new --out /new", 0, "Wrote /new.");
    check("key new --out /there", 1, "/there exists");
    check("key new", 2, "--out");
    check("nosuch", 2, "unrecognized subcommand");
    check("-H tcp://a:1 node ls", 2, "a host is unix://");
    check("-H unix:///nonexistent/skep.sock node ls", 3, "Is it running? Start it with `skep up`");
    check("service ps", 2, "SERVICE");
    check("service create", 2, "IMAGE");
    check("service create -p 1:2:3 a", 2, "a host address cannot be given");
    check("service create --limit-memory x a", 2, "is no size");
    check("-H /nonexistent/skep.sock service ls --filter web", 2, "write it as in name=web");
}

#[test]
fn tokens_say_whom_they_let_in() {
    check("token worker --key-file k", 0, "SKEP-WORKER 86400s None");
    check("token manager --key-file k --expires 90m --uses 3", 0, "SKEP-MANAGER 5400s Some(3)");
    check("token worker --key-file k --uses 0", 2, "--uses");
    check("token worker --key-file k --expires soon", 2, "is no duration");
    check("token revoke t", 1, "t holds no token");
}

#[test]
fn up_hands_over_what_was_said() {
    let line = "-H unix:///s up --key-file k --seed a:7964,b --seed c --voters 5 --runtime process";
    let (_, text, up) = say(line);
    let up = up.unwrap_or_else(|| panic!("{text}"));
    assert_eq!(up.host.as_deref(), Some("unix:///s"));
    assert_eq!(up.key_file, Some(PathBuf::from("k")));
    assert_eq!(up.seeds.unwrap(), ["a:7964", "b", "c"]);
    assert_eq!(up.voters, Some(5));
    assert_eq!((up.found, up.listen, up.data_dir), (false, None, None));
    check("up --voters 4", 2, "3 or 5");
    check("up --key-file a --token-file b", 2, "cannot be used with");
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        check(&format!("completions {shell}"), 0, "skep");
    }
}
