//! `skep image`: images of this node.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use api::client::{Client, ClientError, Lines};
use api::cluster::{Pull, Upload};
use api::wire::image::{ImageProgress, ImageSummary};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::args::image::{ImageCommand, ImageListArgs};
use crate::exit::Failure;
use crate::format::Listing;
use crate::out::Out;
use crate::service::{filters, first_of};
use crate::{ago, registry, units};

const IMAGES: Listing = Listing {
    fields: &[
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("VirtualSize", "SIZE"),
    ],
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

const WITH_DIGESTS: Listing = Listing {
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    ..IMAGES
};

pub(crate) async fn run(
    command: ImageCommand,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    match command {
        ImageCommand::Ls(args) => list(&args, client, out).await,
        ImageCommand::Load { input, quiet } => load(input.as_deref(), quiet, client, out).await,
        ImageCommand::Pull { quiet, platform, image } => {
            pull(&image, platform, quiet, (client, out)).await
        }
        ImageCommand::Rm { force, images } => remove(&images, force, client, out).await,
    }
}

async fn list(args: &ImageListArgs, client: &Client, out: &mut Out) -> Result<(), Failure> {
    let mut wanted = filters(&args.filter)?;
    if let Some(name) = &args.name {
        wanted = wanted.and("reference", name.as_str());
    }
    let mut images = client.images(&wanted).await?;
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    let now = ago::now_unix_nanos() / 1_000_000_000;
    let rows: Vec<_> = images.iter().flat_map(|image| rows(image, args, now)).collect();
    let listing = if args.digests { &WITH_DIGESTS } else { &IMAGES };
    out.bytes(listing.render(&rows, args.format.as_deref(), args.quiet)?.as_bytes())
}

/// One row for each name of an image.
fn rows(image: &ImageSummary, args: &ImageListArgs, now_unix_seconds: u64) -> Vec<Value> {
    let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
    let id = if args.no_trunc { &image.id } else { id.get(..12).unwrap_or(id) };
    let created = u64::try_from(image.created).unwrap_or(0);
    let created_at = api::wire::time::format(created.saturating_mul(1_000_000_000));
    let since = ago::human(now_unix_seconds.saturating_sub(created));
    let row = |repository: &str, tag: &str, digest: &str| {
        json!({
            "Repository": repository, "Tag": tag, "Digest": digest, "ID": id,
            "CreatedSince": format!("{since} ago"), "CreatedAt": created_at,
            "Size": units::show_size(image.size), "Containers": "N/A", "SharedSize": "N/A",
            "UniqueSize": "N/A", "VirtualSize": units::show_size(image.size),
        })
    };
    let digests: BTreeMap<&str, &str> =
        image.repo_digests.iter().filter_map(|name| name.split_once('@')).collect();
    let tags = image.repo_tags.iter().filter_map(|name| name.rsplit_once(':'));
    let named: Vec<_> =
        tags.map(|(name, tag)| row(name, tag, digests.get(name).unwrap_or(&"<none>"))).collect();
    if named.is_empty() || args.quiet { vec![row("<none>", "<none>", "<none>")] } else { named }
}

async fn load(
    input: Option<&Path>,
    quiet: bool,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    let tar: Upload = match input {
        Some(path) => {
            let file = tokio::fs::File::open(path).await;
            Box::pin(file.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?)
        }
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::usage(
                "requested load from stdin, but stdin is empty; use -i FILE",
            ));
        }
        None => Box::pin(tokio::io::stdin()),
    };
    follow(client.load_image(tar).await?, quiet, out).await
}

async fn pull(
    image: &str,
    platform: String,
    quiet: bool,
    (client, out): (&Client, &mut Out),
) -> Result<(), Failure> {
    let registry_auth = registry::credentials(image).await?;
    let pull = Pull { reference: image.to_owned(), platform, registry_auth };
    follow(client.pull_image(&pull).await?, quiet, out).await?;
    if quiet { out.line(image) } else { Ok(()) }
}

/// Shows progress until it ends, well or not.
async fn follow(
    mut lines: Lines<ImageProgress>,
    quiet: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut drawn = Drawn { all: MultiProgress::new(), bars: BTreeMap::new() };
    while let Some(line) = lines.next().await? {
        if !line.error.is_empty() {
            return Err(Failure::new(line.error));
        }
        if !line.stream.is_empty() {
            out.bytes(line.stream.as_bytes())?;
        } else if quiet {
        } else if line.id.is_empty() {
            out.line(&line.status)?;
        } else if out.terminal {
            drawn.show(&line);
        } else if line.progress_detail.is_none_or(|detail| detail.total == 0) {
            out.note(format!("{}: {}", line.id, line.status));
        }
    }
    Ok(())
}

/// A bar for each layer.
struct Drawn {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
}

impl Drawn {
    fn show(&mut self, line: &ImageProgress) {
        let bar = self.bars.entry(line.id.clone()).or_insert_with(|| {
            let style =
                ProgressStyle::with_template("{prefix}: {msg} {bytes}/{total_bytes} {bar:30}");
            let bar = ProgressBar::new(0).with_prefix(line.id.clone());
            let bar = style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style));
            self.all.add(bar)
        });
        bar.set_message(line.status.clone());
        if let Some(detail) = line.progress_detail.filter(|detail| 0 < detail.total) {
            bar.set_length(detail.total);
            bar.set_position(detail.current);
        }
    }
}

async fn remove(
    references: &[String],
    force: bool,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failure> {
    let mut failures = Vec::new();
    for reference in references {
        match client.remove_image(reference, force).await {
            Ok(removed) => {
                for one in removed {
                    if !one.untagged.is_empty() {
                        out.line(format!("Untagged: {}", one.untagged))?;
                    }
                    if !one.deleted.is_empty() {
                        out.line(format!("Deleted: {}", one.deleted))?;
                    }
                }
            }
            Err(error @ ClientError::Refused(_)) => failures.push(error.into()),
            Err(error) => return Err(error.into()),
        }
    }
    first_of(failures)
}
