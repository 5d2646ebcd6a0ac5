//! Names of images, resolved as Docker does: `nginx` is `docker.io/library/nginx:latest`.

use std::fmt;

use oci_client::Reference;

use crate::RuntimeError;

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
        let bad = |reason: String| RuntimeError::BadReference { reference: text.into(), reason };
        let reference = Reference::try_from(text).map_err(|error| bad(error.to_string()))?;
        let reference = match reference.digest() {
            Some(digest) if reference.tag().is_some() => Reference::with_digest(
                reference.registry().to_owned(),
                reference.repository().to_owned(),
                digest.to_owned(),
            ),
            _ => reference,
        };
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

#[cfg(test)]
mod tests {
    use super::*;

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
