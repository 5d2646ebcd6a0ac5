//! Flags of `skep secret` and `skep config`.

use clap::{Args, Subcommand};

use super::service::ListArgs;

/// `skep secret`.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Create a secret from a file or stdin
    Create(SecretCreateArgs),
    /// List secrets
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show secrets in detail, but never what they hold
    Inspect(InspectArgs),
    /// Remove secrets that no service uses
    #[command(visible_alias = "remove")]
    Rm {
        /// Which
        #[arg(required = true, value_name = "SECRET")]
        secrets: Vec<String>,
    },
}

/// `skep config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Create a config from a file or stdin
    Create(ConfigCreateArgs),
    /// List configs
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show configs in detail
    Inspect(InspectArgs),
    /// Remove configs that no service uses
    #[command(visible_alias = "remove")]
    Rm {
        /// Which
        #[arg(required = true, value_name = "CONFIG")]
        configs: Vec<String>,
    },
}

/// `skep secret create`.
#[derive(Debug, Args)]
pub(crate) struct SecretCreateArgs {
    /// Label, KEY=VALUE
    #[arg(short, long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<String>,
    /// Plugin that has the secret instead
    #[arg(short, long, value_name = "NAME")]
    pub(crate) driver: Option<String>,
    /// What fills in the secret as a template
    #[arg(long = "template-driver", value_name = "NAME")]
    pub(crate) template_driver: Option<String>,
    /// Unique among secrets
    pub(crate) name: String,
    /// File to read; `-` is stdin
    pub(crate) file: Option<String>,
}

/// `skep config create`.
#[derive(Debug, Args)]
pub(crate) struct ConfigCreateArgs {
    /// Label, KEY=VALUE
    #[arg(short, long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<String>,
    /// What fills in the config as a template
    #[arg(long = "template-driver", value_name = "NAME")]
    pub(crate) template_driver: Option<String>,
    /// Unique among configs
    pub(crate) name: String,
    /// File to read; `-` is stdin
    pub(crate) file: String,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// `json`, or a Go template
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// For people
    #[arg(long, conflicts_with = "format")]
    pub(crate) pretty: bool,
    /// Ids, names or unique prefixes of ids
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}
