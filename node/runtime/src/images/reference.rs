//! Names of images, resolved as Docker does: `nginx` is `docker.io/library/nginx:latest`.

use std::fmt;

use oci_client::Reference;

use crate::RuntimeError;

/// Where names without a registry live, and what it was called once.
const HUB: &str = "docker.io";
const HUB_OF_OLD: &str = "index.docker.io";
/// Docker's limits.
const REPOSITORY_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// A parsed name: registry, repository, and a digest or a tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Name {
    reference: Reference,
}

impl Name {
    /// Reads a name in Docker's short or long form.
    ///
    /// A digest wins over a tag: `nginx:1.27@sha256:…` is the image of that digest.
    pub(crate) fn parse(text: &str) -> Result<Self, RuntimeError> {
        let reference = read(text).map_err(|reason| RuntimeError::BadReference {
            reference: text.into(),
            reason: reason.into(),
        })?;
        Ok(Self { reference })
    }

    /// The same repository at a digest.
    pub(crate) fn at(&self, digest: &str) -> Self {
        let (registry, repository) = (self.reference.registry(), self.reference.repository());
        let reference = Reference::with_digest(registry.into(), repository.into(), digest.into());
        Self { reference }
    }

    /// The digest, if it was given.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.reference.digest()
    }

    /// Host and port of the registry, as in `docker login`.
    pub(crate) fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// `registry/repository`.
    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", self.reference.registry(), self.reference.repository())
    }

    /// What the registry client takes.
    pub(crate) const fn as_reference(&self) -> &Reference {
        &self.reference
    }

    /// The name as Docker shows it: without `docker.io/library/`.
    pub(crate) fn familiar(&self) -> String {
        let whole = self.to_string();
        let short = whole.strip_prefix("docker.io/").map_or(whole.as_str(), |rest| rest);
        short.strip_prefix("library/").map_or(short, |rest| rest).to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reference.whole())
    }
}

/// What Docker's grammar says of a name. `Reference` reads it, too, by a regular expression that
/// keeps 7 MB for as long as the process lives.
fn read(text: &str) -> Result<Reference, &'static str> {
    const BAD: &str = "invalid reference format";
    if text.is_empty() {
        return Err("repository name must have at least one component");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon before a slash is that of a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        Some(_) | None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(BAD);
    }
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path),
        Some(_) | None => (HUB, name),
    };
    if !is_registry(registry) || !path.split('/').all(is_component) {
        return Err(if path.contains(|c: char| c.is_ascii_uppercase()) {
            "repository name must be lowercase"
        } else {
            BAD
        });
    }
    let registry = if registry == HUB_OF_OLD { HUB } else { registry };
    let official = registry == HUB && !path.contains('/');
    let path = if official { format!("library/{path}") } else { path.to_owned() };
    if REPOSITORY_BYTES_MAX < path.len() {
        return Err("repository name must not be more than 255 characters");
    }
    match digest {
        Some(digest) => check_digest(digest)
            .map(|()| Reference::with_digest(registry.into(), path, digest.into())),
        None => Ok(Reference::with_tag(registry.into(), path, tag.unwrap_or("latest").into())),
    }
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(word)
        && text.len() <= TAG_BYTES_MAX
        && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

/// `host`, `host.domain:port`.
fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    let is_label = |label: &str| {
        label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    };
    let is_port = !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
    is_port && host.split('.').all(is_label)
}

/// Lower case and digits, with a point, one or two underscores, or dashes between them.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = |text: &str| matches!(text, "." | "_" | "__") || text.chars().all(|c| c == '-');
    text.starts_with(plain) && text.ends_with(plain) && text.split(plain).all(between)
}

fn check_digest(text: &str) -> Result<(), &'static str> {
    let (algorithm, hex) = text.split_once(':').ok_or("invalid checksum digest format")?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err("unsupported digest algorithm"),
    };
    if !hex.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err("invalid checksum digest format");
    }
    (hex.len() == length).then_some(()).ok_or("invalid checksum digest length")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_read_as_the_regular_expression_reads_them(
            text in "[a-z0-9]{0,3}([./:_-]{1,3}[a-z0-9A-Z]{0,2}){0,5}",
            algorithm in prop::option::of("sha(256|384|512|1)"),
            n_hex in prop::sample::select(vec![31_usize, 63, 64, 96, 128]),
        ) {
            let digest = algorithm.map(|name| format!("@{name}:{}", "a".repeat(n_hex)));
            let text = text + &digest.unwrap_or_default();
            let name = text.split('@').next().unwrap_or_default();
            let first = name.split('/').next().unwrap_or_default();
            // The expression takes `A/b` for a host and what follows it, and then does not.
            prop_assume!(!first.chars().any(|c| c.is_ascii_uppercase()));
            let theirs = Reference::try_from(text.as_str()).ok().map(|theirs| {
                let (registry, path) = (theirs.registry().into(), theirs.repository().into());
                match theirs.digest() {
                    Some(digest) => Reference::with_digest(registry, path, digest.into()),
                    None => theirs,
                }
            });
            prop_assert_eq!(read(&text).ok(), theirs, "{}", text);
        }
    }

    #[test]
    fn short_names_become_long_as_docker_does_it() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("nginx:1.27@{digest}");
        let long = format!("docker.io/library/nginx@{digest}");
        for (text, whole, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("skep/demo", "docker.io/skep/demo:latest", "skep/demo:latest"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
            ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
            (pinned.as_str(), long.as_str(), &long["docker.io/library/".len()..]),
        ] {
            let name = Name::parse(text).expect(text);
            assert_eq!(name.to_string(), whole);
            assert_eq!(name.familiar(), familiar);
        }
    }

    #[test]
    fn refuses_what_is_no_name() {
        for text in ["", "Nginx", "a b", "nginx:", "nginx@sha256:12", "-a", "a//b"] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
    }
}
