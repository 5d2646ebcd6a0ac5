//! The grammar. Nouns and flags are Docker's.

pub(crate) mod files;
pub(crate) mod image;
pub(crate) mod node;
pub(crate) mod service;
pub mod up;

use std::path::PathBuf;

use clap::{Args as Parser, Parser as Root, Subcommand};

use self::files::{ConfigCommand, SecretCommand};
use self::image::ImageCommand;
use self::node::NodeCommand;
use self::service::ServiceCommand;
pub use self::up::UpArgs;
use crate::units;

/// Runs containers on many machines as Docker Swarm mode does, without masters to name and
/// without a network to trust.
#[derive(Debug, Root)]
#[command(name = "skep", subcommand_required = true)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    /// Socket of the daemon, unix://PATH; the user's own or /run/skep/skep.sock if not given
    #[arg(short = 'H', long, env = "SKEP_HOST", global = true, value_name = "URL")]
    pub(crate) host: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon: the same line on every machine
    Up(Box<UpArgs>),
    /// Show who is here, who votes, who leads, and why
    Status(StatusArgs),
    /// Manage nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// Manage services
    #[command(subcommand)]
    Service(Box<ServiceCommand>),
    /// Manage secrets
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Manage configs
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Manage images of this node
    #[command(subcommand)]
    Image(ImageCommand),
    /// Manage the cluster key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make and revoke join tokens, for machines that do not get the cluster key
    #[command(subcommand)]
    Token(TokenCommand),
    /// Leave the cluster
    Leave {
        /// Leave even if the cluster cannot go on without this node
        #[arg(short, long)]
        force: bool,
    },
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// `skep status`.
#[derive(Debug, Parser)]
pub(crate) struct StatusArgs {
    /// `json`, or a Go template
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}

/// `skep key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a cluster key: one secret, made once, offline
    New {
        /// File to write; it must not exist
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// `skep token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for nodes that work and never vote
    Worker(TokenArgs),
    /// Make a token for nodes that may manage: they are handed the cluster key
    Manager(TokenArgs),
    /// Let nobody in with a token any more; nodes that joined with it stay until `skep node rm`
    Revoke {
        /// File with the token
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// `skep token worker` and `skep token manager`.
#[derive(Debug, Parser)]
pub struct TokenArgs {
    /// File with the cluster key
    #[arg(long, env = "SKEP_KEY_FILE", value_name = "FILE")]
    pub key_file: PathBuf,
    /// How long it opens the door, as in 90m, 24h
    #[arg(long, default_value = "24h", value_parser = units::duration)]
    pub expires: std::time::Duration,
    /// How many nodes may join with it; any number if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: Option<u32>,
    /// File to write; it must not exist. To stdout if not given
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What joins with a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenRole {
    /// It works and never votes.
    Worker,
    /// It may manage.
    Manager,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        super::Args::command().debug_assert();
    }
}
