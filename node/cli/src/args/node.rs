//! Flags of `skep node`.

use clap::{Args, Subcommand, ValueEnum};

use super::service::ListArgs;

/// `skep node`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List nodes
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show nodes in detail
    Inspect {
        /// `json`, or a Go template
        #[arg(short, long)]
        format: Option<String>,
        /// For people
        #[arg(long, conflicts_with = "format")]
        pretty: bool,
        /// `self`, ids or unique prefixes of ids
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
    },
    /// Change a node
    Update(NodeUpdateArgs),
    /// Prefer nodes as managers
    Promote {
        /// Which
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
    },
    /// Keep nodes from being managers
    Demote {
        /// Which
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
    },
    /// Remove nodes from the cluster
    #[command(visible_alias = "remove")]
    Rm {
        /// Also nodes that are up
        #[arg(short, long)]
        force: bool,
        /// Which
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
    },
    /// List tasks on nodes
    Ps {
        /// How to list.
        #[command(flatten)]
        list: super::service::TaskListArgs,
        /// Which; this one if none is named
        #[arg(value_name = "NODE")]
        nodes: Vec<String>,
    },
}

/// `skep node update`.
#[derive(Debug, Args)]
pub(crate) struct NodeUpdateArgs {
    /// Whether it gets and keeps tasks
    #[arg(long)]
    pub(crate) availability: Option<Availability>,
    /// Add or change a label, KEY=VALUE
    #[arg(long = "label-add", value_name = "K=V")]
    pub(crate) label_add: Vec<String>,
    /// Remove a label
    #[arg(long = "label-rm", value_name = "K")]
    pub(crate) label_rm: Vec<String>,
    /// What it may be
    #[arg(long)]
    pub(crate) role: Option<Role>,
    /// Which
    pub(crate) node: String,
}

/// Whether a node gets and keeps tasks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Availability {
    /// Both
    Active,
    /// Keeps what it has
    Pause,
    /// Neither
    Drain,
}

/// What a node may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Role {
    /// It works
    Worker,
    /// It may manage
    Manager,
}
