//! Flags of `skep image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `skep image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images of this node
    #[command(visible_alias = "list")]
    Ls(ImageListArgs),
    /// Load images from an archive of `docker save`, or an OCI layout in a tar
    Load {
        /// File to read; stdin if not given
        #[arg(short, long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// No progress
        #[arg(short, long)]
        quiet: bool,
    },
    /// Pull an image from a registry
    Pull {
        /// No progress
        #[arg(short, long)]
        quiet: bool,
        /// For another platform, as in linux/arm64
        #[arg(long, default_value = "", hide_default_value = true)]
        platform: String,
        /// NAME[:TAG|@DIGEST]
        image: String,
    },
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm {
        /// Also images in use
        #[arg(short, long)]
        force: bool,
        /// Which
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
}

/// `skep image ls`.
#[derive(Debug, Args)]
pub(crate) struct ImageListArgs {
    /// Only what fits, KEY=VALUE
    #[arg(short, long, value_name = "K=V")]
    pub(crate) filter: Vec<String>,
    /// `json`, or a Go template, or `table` and a template
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Whole ids
    #[arg(long = "no-trunc")]
    pub(crate) no_trunc: bool,
    /// Digests too
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only this name, or name:tag
    pub(crate) name: Option<String>,
}
