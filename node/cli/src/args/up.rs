//! Flags of `skep up`. The node decides between flag, environment and file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `skep up`: everything is optional here, because a file may say it too.
#[derive(Clone, Debug, Default, Args)]
pub struct UpArgs {
    /// From the global -H, as it was given.
    #[arg(skip)]
    pub host: Option<String>,
    /// File with the cluster key; only its owner may read it
    #[arg(long, env = "SKEP_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// File with a join token, instead of the cluster key
    #[arg(long, env = "SKEP_TOKEN_FILE", value_name = "FILE", conflicts_with = "key_file")]
    pub token_file: Option<PathBuf>,
    /// Where other nodes are, NAME or NAME:PORT; repeat it, or separate by commas in SKEP_SEED
    #[arg(long = "seed", env = "SKEP_SEED", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub seeds: Option<Vec<String>>,
    /// Found a cluster of one; only on an empty data directory
    #[arg(long)]
    pub found: bool,
    /// How many managers the founders choose
    #[arg(long, env = "SKEP_VOTERS", value_name = "3|5", value_parser = voters)]
    pub voters: Option<u8>,
    /// Address that other nodes reach this one at
    #[arg(long, env = "SKEP_ADVERTISE", value_name = "IP[:PORT]")]
    pub advertise: Option<String>,
    /// Address to listen at, UDP and TCP; the advertised one if not given
    #[arg(long, env = "SKEP_LISTEN", value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where the node keeps its state [default: /var/lib/skep, or $XDG_DATA_HOME/skep]
    #[arg(long, env = "SKEP_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What runs containers [default: auto]
    #[arg(long, env = "SKEP_RUNTIME")]
    pub runtime: Option<RuntimeChoice>,
    /// TOML file with the same settings
    #[arg(long, env = "SKEP_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What its operator says of this node, KEY=VALUE; usable as engine.labels.KEY
    #[arg(long = "label", env = "SKEP_LABEL", value_name = "K=V", value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
    /// Where it stands; managers are spread over zones
    #[arg(long, env = "SKEP_ZONE")]
    pub zone: Option<String>,
    /// How log lines look [default: human on a terminal, else json]
    #[arg(long, env = "SKEP_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Address that published ports are opened at [default: all]
    #[arg(long, env = "SKEP_PUBLISH_ADDRESS", value_name = "IP")]
    pub publish_address: Option<std::net::IpAddr>,
}

fn voters(text: &str) -> Result<u8, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("3 or 5".to_owned()),
    }
}

/// What runs containers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum RuntimeChoice {
    /// What it was before; else Docker if its socket answers, else embedded
    Auto,
    /// The one inside this program
    Embedded,
    /// The Docker Engine of this machine, at DOCKER_HOST or /var/run/docker.sock
    Docker,
    /// Plain processes without isolation; the demo image only
    Process,
    /// For tests: nothing runs
    #[value(hide = true)]
    Fake,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Human,
    /// For machines
    Json,
}
