//! The command line: a client of the API, and the grammar of `skep up`.
//!
//! What needs more than the API (the daemon, key files, tokens) is done by the node through
//! [`Program`]; this crate knows only the `api` crate.

mod ago;
pub mod args;
mod columns;
mod exit;
mod files;
mod format;
mod host;
mod images;
mod node;
mod out;
mod progress;
mod registry;
mod rows;
mod service;
mod spec;
mod status;
mod units;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use api::client::Client;
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Args, Command, KeyCommand, TokenArgs, TokenCommand, TokenRole, UpArgs};
pub use crate::exit::Failure;
use crate::out::Out;

/// What the command line cannot do by itself.
pub trait Program {
    /// Runs the daemon until it is told to stop.
    ///
    /// # Errors
    /// When it cannot start or has to stop; the text is for the user and says what to do.
    fn up(&self, args: UpArgs) -> Result<(), Failure>;

    /// Makes a cluster key in a new file.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    fn key_new(&self, out: &Path) -> Result<(), Failure>;

    /// Text of a join token, signed with a cluster key; written to `args.out` if that is set.
    ///
    /// # Errors
    /// When the key cannot be read or the file cannot be written.
    fn token(&self, role: TokenRole, args: &TokenArgs) -> Result<String, Failure>;

    /// The id of the token in a file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no token.
    fn token_id(&self, file: &Path) -> Result<String, Failure>;

    /// `skep --version`.
    fn version(&self) -> &'static str;
}

/// Runs one command line; the first argument is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>, program: &dyn Program) -> ExitCode {
    let grammar = Args::command().version(program.version());
    let parsed = grammar.try_get_matches_from(arguments);
    let args = match parsed.and_then(|matches| Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            // Nobody is left to tell if the terminal is gone.
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let mut out = Out::to_terminal();
    match execute(args, program, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.error(&failure);
            ExitCode::from(failure.code())
        }
    }
}

fn execute(args: Args, program: &dyn Program, out: &mut Out) -> Result<(), Failure> {
    match args.command {
        Command::Up(mut up) => {
            up.host = args.host;
            program.up(*up)
        }
        Command::Key(KeyCommand::New { out: file }) => {
            program.key_new(&file)?;
            let file = file.display();
            out.line(format!("Wrote {file}. Whoever has it owns the cluster: keep a copy offline."))
        }
        Command::Token(TokenCommand::Worker(token)) => {
            make_token(TokenRole::Worker, &token, program, out)
        }
        Command::Token(TokenCommand::Manager(token)) => {
            make_token(TokenRole::Manager, &token, program, out)
        }
        Command::Token(TokenCommand::Revoke { file }) => {
            let id = program.token_id(&file)?;
            question(args.host.as_deref(), out, async |client, out| {
                client.revoke_token(&id).await?;
                out.line(format!("Token {id} lets nobody in any more."))
            })
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "skep", &mut script);
            out.bytes(&script)
        }
        command @ (Command::Status(_)
        | Command::Node(_)
        | Command::Service(_)
        | Command::Secret(_)
        | Command::Config(_)
        | Command::Image(_)
        | Command::Leave { .. }) => {
            question(args.host.as_deref(), out, async |client, out| ask(command, client, out).await)
        }
    }
}

fn make_token(
    role: TokenRole,
    args: &TokenArgs,
    program: &dyn Program,
    out: &mut Out,
) -> Result<(), Failure> {
    let text = program.token(role, args)?;
    match &args.out {
        Some(file) => out.line(format!("Wrote {}.", file.display())),
        None => out.line(text),
    }
}

/// Asks the daemon something.
fn question(
    host: Option<&str>,
    out: &mut Out,
    ask: impl AsyncFnOnce(&Client, &mut Out) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = Client::new(host::socket(host)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let done = runtime.block_on(ask(&client, out));
    if client.was_stale() {
        out.warn("nobody leads now: what is shown is what the node remembers");
    }
    // Reading stdin blocks a thread that would otherwise be waited for.
    runtime.shutdown_background();
    done
}

/// Commands that are questions to a daemon.
async fn ask(command: Command, client: &Client, out: &mut Out) -> Result<(), Failure> {
    match command {
        Command::Status(args) => status::run(&args, client, out).await,
        Command::Node(command) => node::run(command, client, out).await,
        Command::Service(command) => service::run(*command, client, out).await,
        Command::Secret(command) => files::secret(command, client, out).await,
        Command::Config(command) => files::config(command, client, out).await,
        Command::Image(command) => images::run(command, client, out).await,
        Command::Leave { force } => {
            client.leave(force).await?;
            out.line("Node left the cluster.")
        }
        Command::Up(_) | Command::Key(_) | Command::Token(_) | Command::Completions { .. } => {
            Err(Failure::new("not a question to a daemon"))
        }
    }
}

#[cfg(test)]
mod tests;
