//! The demo image: a web server that says which task answered. Only the standard library.
//!
//! It listens on `$HOST` (0.0.0.0) and `$PORT` (80). For tests it also does as it is told:
//!
//! ```text
//!   --exit-after SECONDS   end by itself
//!   --exit-code N          with this code (0)
//!   --ignore-term          do nothing on SIGTERM
//!   --lines N              print N numbered lines, every second one to standard error
//!   --eat MIB              use so much memory
//!   --no-server            print and wait, without a port
//! ```

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Requests that are answered at the same time: each one is a thread.
const CONNECTIONS_MAX: usize = 256;
/// Bytes of a request that are read before it is answered.
const REQUEST_BYTES_MAX: u64 = 16 * 1024;
/// A client that sends nothing for so long is hung up on.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

const SIGTERM: i32 = 15;
const SIG_IGN: usize = 1;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn _exit(code: i32) -> !;
}

/// Process 1 of a container gets no default action for signals: without this
/// handler SIGTERM would do nothing.
extern "C" fn on_term(_: i32) {
    // SAFETY: `_exit` is async-signal-safe.
    unsafe { _exit(0) }
}

#[derive(Default)]
struct Options {
    exit_after: Option<u64>,
    exit_code: i32,
    ignore_term: bool,
    lines: u64,
    eat_mib: usize,
    no_server: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().unwrap_or_default();
            text.parse::<u64>().map_err(|_| format!("{arg} needs a number, not `{text}`"))
        };
        match arg.as_str() {
            "--exit-after" => options.exit_after = Some(number()?),
            "--exit-code" => options.exit_code = number()? as i32,
            "--lines" => options.lines = number()?,
            "--eat" => options.eat_mib = number()? as usize,
            "--ignore-term" => options.ignore_term = true,
            "--no-server" => options.no_server = true,
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(options)
}

fn say(text: &str) {
    // A closed or full standard output must not end a server.
    let _ = writeln!(io::stdout().lock(), "{text}");
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn who() -> String {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let value = |name: &str, other: &str| env::var(name).unwrap_or_else(|_| other.to_owned());
    let name = value("SKEP_TASK_NAME", hostname.trim());
    let task = value("SKEP_TASK_ID", "?");
    let node = value("SKEP_NODE_HOSTNAME", "?");
    format!("hello from {name} (task {task}) on node {node}\n")
}

fn answer(mut stream: TcpStream, body: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?.take(REQUEST_BYTES_MAX));
    let mut first = String::new();
    reader.read_line(&mut first)?;
    if first.is_empty() {
        return Ok(());
    }
    let mut line = String::from("-");
    while !line.trim_end().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let mut words = first.split_ascii_whitespace();
    let (status, body) = match words.next() {
        Some("GET") => ("200 OK", body),
        Some("HEAD") => ("200 OK", ""),
        _ => ("405 Method Not Allowed", "only GET is answered\n"),
    };
    say(&format!("{} {status}", first.trim_end()));
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn serve() -> Result<(), String> {
    let host = env::var("HOST").unwrap_or_else(|_| "0.0.0.0".to_owned());
    let port = env::var("PORT").unwrap_or_else(|_| "80".to_owned());
    let address = format!("{host}:{port}");
    let listener = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
    let body: &'static str = who().leak();
    say(&format!("listening on {address}"));
    static OPEN: AtomicUsize = AtomicUsize::new(0);
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        if CONNECTIONS_MAX <= OPEN.fetch_add(1, Ordering::Relaxed) {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let answering = thread::Builder::new().spawn(move || {
            let _ = answer(stream, body);
            OPEN.fetch_sub(1, Ordering::Relaxed);
        });
        if answering.is_err() {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn run() -> Result<(), String> {
    let options = options()?;
    let handler = if options.ignore_term { SIG_IGN } else { on_term as *const () as usize };
    // SAFETY: the handler is async-signal-safe and lives as long as the process.
    unsafe { signal(SIGTERM, handler) };
    for number in 1..=options.lines {
        let line = format!("line {number}");
        if number % 2 == 0 { complain(&line) } else { say(&line) }
    }
    if let Some(seconds) = options.exit_after {
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(seconds));
            process::exit(options.exit_code);
        });
    }
    let mut eaten = vec![0_u8; options.eat_mib * 1024 * 1024];
    for page in eaten.chunks_mut(4096) {
        page[0] = 1;
    }
    if options.no_server {
        loop {
            thread::park();
        }
    }
    serve()
}

fn main() {
    if let Err(error) = run() {
        complain(&error);
        process::exit(2);
    }
}
