//! Arguments in, exit code out.

use std::path::Path;
use std::process::ExitCode;

use cli::args::up::{LogFormat, RuntimeChoice};
use cli::args::{TokenArgs, TokenRole, UpArgs};
use cli::{Failure, Program};
use crypto::{Authority, ClusterKey, Role, Token};
use node::config::{Config, Options, RuntimeChoice as RuntimeKind};
use node::telemetry;

/// The one binary: container shim, daemon, client.
struct Skep;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // A shim is the parent of one container: no runtime, no threads, nothing else.
    if arguments.get(1).is_some_and(|argument| argument == "shim") {
        return runtime::shim_main(arguments.into_iter().skip(2));
    }
    cli::run(arguments, &Skep)
}

impl Program for Skep {
    fn up(&self, args: UpArgs) -> Result<(), Failure> {
        let file = match &args.config {
            Some(path) => Options::read(path).map_err(|error| Failure::usage(error.to_string()))?,
            None => Options::default(),
        };
        let flags = options(args);
        let config =
            Config::check(flags.or(file)).map_err(|error| Failure::usage(error.to_string()))?;
        let config = with_user_namespace(config)?;
        telemetry::start(config.log_format);
        node::up(config).map_err(|error| Failure::new(chain(&error)))
    }

    fn key_new(&self, out: &Path) -> Result<(), Failure> {
        let key = ClusterKey::generate().map_err(|error| Failure::new(error.to_string()))?;
        key.create_file(out).map_err(|error| Failure::new(chain(&error)))
    }

    fn token(&self, role: TokenRole, args: &TokenArgs) -> Result<String, Failure> {
        let key = node::read_key(&args.key_file).map_err(|error| Failure::new(chain(&error)))?;
        let role = match role {
            TokenRole::Worker => Role::Worker,
            TokenRole::Manager => Role::Eligible,
        };
        let not_after = node::unix_seconds().saturating_add(args.expires.as_secs());
        let id = node::random_id();
        let token = Authority::from_key(&key).grant(role, id, not_after, args.uses.unwrap_or(0));
        if let Some(out) = &args.out {
            token.create_file(out).map_err(|error| Failure::new(chain(&error)))?;
        }
        Ok(token.to_text().to_string())
    }

    fn token_id(&self, file: &Path) -> Result<String, Failure> {
        let token = Token::read_file(file).map_err(|error| Failure::new(chain(&error)))?;
        Ok(node::token_id(&token))
    }

    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// An ordinary user's containers need a user namespace; it is entered before any thread exists,
/// and after the paths were chosen, because inside we look like root.
fn with_user_namespace(config: Config) -> Result<Config, Failure> {
    let config = node::settle(config);
    if config.runtime != RuntimeKind::Embedded {
        return Ok(config);
    }
    let root = runtime::enter_user_namespace_if_needed(&config.data_dir.join("runtime"))
        .map_err(|error| Failure::new(chain(&error)))?;
    Ok(Config { rootless: root == runtime::Root::UserNamespace, ..config })
}

fn options(args: UpArgs) -> Options {
    let labels = args.labels.map(|labels| labels.iter().map(|label| pair(label)).collect());
    Options {
        key_file: args.key_file,
        token_file: args.token_file,
        seeds: args.seeds,
        found: args.found.then_some(true),
        voters: args.voters,
        advertise: args.advertise,
        listen: args.listen.map(|address| address.to_string()),
        publish_address: args.publish_address,
        data_dir: args.data_dir,
        host: args.host,
        runtime: args.runtime.map(|choice| runtime_choice(choice).word().to_owned()),
        docker_host: std::env::var("DOCKER_HOST").ok(),
        labels,
        zone: args.zone,
        log_format: args.log_format.map(|format| match format {
            LogFormat::Human => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }),
    }
}

fn pair(label: &str) -> (String, String) {
    let (key, value) = label.split_once('=').unwrap_or((label, ""));
    (key.to_owned(), value.to_owned())
}

const fn runtime_choice(choice: RuntimeChoice) -> RuntimeKind {
    match choice {
        RuntimeChoice::Auto => RuntimeKind::Auto,
        RuntimeChoice::Embedded => RuntimeKind::Embedded,
        RuntimeChoice::Process => RuntimeKind::Process,
        RuntimeChoice::Fake => RuntimeKind::Fake,
        RuntimeChoice::Docker => RuntimeKind::Docker,
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
