//! What the Engine's errors mean: who is to blame, and so what to do.
//!
//! Its status codes tell half of it. A pull without a login is a 500, a full disk is a 500
//! too, and what fails in the middle of a pull comes with a 200; there the text decides.

use bollard::errors::Error;

use crate::RuntimeError;

/// What the Engine said, in a form that can be judged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// It answered with an error.
    Refused { status: u16, text: String },
    /// It does not answer, or broke off.
    Away(String),
    /// It answered with something that we do not understand.
    Nonsense(String),
}

impl Said {
    /// Sorts an error of the client.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is all that we cannot read")]
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self::Refused { status: *status_code, text: message.clone() }
            }
            Error::DockerStreamError { error } => {
                Self::Refused { status: 500, text: error.clone() }
            }
            Error::HyperLegacyError { .. }
            | Error::HyperResponseError { .. }
            | Error::IOError { .. }
            | Error::SocketNotFoundError(_)
            | Error::RequestTimeoutError => Self::Away(chain(error)),
            other => Self::Nonsense(chain(other)),
        }
    }

    /// Whether what was asked for is not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether something of that name is there, or is on its way out.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        // Some of them repeat their cause.
        if !text.ends_with(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        cause = error.source();
    }
    text
}

/// What is wrong with a container that was made or started.
pub(crate) fn of_container(engine: &str, image: &str, said: Said) -> RuntimeError {
    match said {
        Said::Away(reason) => away(engine, reason),
        Said::Nonsense(reason) => RuntimeError::Node { reason },
        Said::Refused { text, .. } if is_full(&text) => RuntimeError::NoSpace { step: text },
        Said::Refused { status: 404, text } if text.to_lowercase().contains("no such image") => {
            RuntimeError::NoSuchImage { reference: image.to_owned(), reason: String::new() }
        }
        // What a spec asks for is refused with 400; a process that cannot be started too.
        Said::Refused { status: 400, text } => RuntimeError::Spec { reason: text },
        Said::Refused { text, .. } if is_of_the_process(&text) => {
            RuntimeError::Spec { reason: text }
        }
        Said::Refused { text, .. } => RuntimeError::Node { reason: text },
    }
}

/// What is wrong with a pull.
pub(crate) fn of_pull(engine: &str, image: &str, registry: &str, said: Said) -> RuntimeError {
    let (status, text) = match said {
        Said::Away(reason) => return away(engine, reason),
        Said::Nonsense(reason) => return RuntimeError::Node { reason },
        Said::Refused { status, text } => (status, text),
    };
    let lower = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let reference = image.to_owned();
    if is_full(&text) {
        return RuntimeError::NoSpace { step: format!("pulling {image}") };
    }
    if has(&["invalid reference format", "invalid checksum digest", "unsupported digest"]) {
        return RuntimeError::BadReference { reference, reason: text };
    }
    if has(&["no matching manifest", "does not match the specified platform", "platform mismatch"])
    {
        let node = crate::images::node_platform();
        return RuntimeError::Platform { reference, image: "other platforms".to_owned(), node };
    }
    // Before the logins: Docker Hub says `denied` of what does not exist.
    if has(&["does not exist", "manifest unknown", "not found", "name unknown", "no such image"])
        && !has(&["no such host"])
    {
        return RuntimeError::NoSuchImage { reference, reason: text };
    }
    if has(&[
        "no basic auth",
        "unauthorized",
        "authentication required",
        "denied",
        "incorrect user",
    ]) {
        return RuntimeError::Unauthorized { reference, registry: registry.to_owned() };
    }
    if status == 404 {
        return RuntimeError::NoSuchImage { reference, reason: text };
    }
    RuntimeError::Unavailable { registry: registry.to_owned(), reason: text }
}

/// The Engine is away.
pub(crate) fn away(engine: &str, reason: String) -> RuntimeError {
    RuntimeError::Away { engine: engine.to_owned(), reason }
}

fn is_full(text: &str) -> bool {
    text.contains("no space left on device") || text.contains("disk quota exceeded")
}

/// Whether the image and the spec make a process that cannot be started anywhere.
fn is_of_the_process(text: &str) -> bool {
    const CAUSES: &[&str] = &[
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "exec format error",
        "unable to find user",
        "no matching entries in passwd",
        "no matching entries in group",
    ];
    let of_runc = text.contains("OCI runtime") || text.contains("unable to find user");
    of_runc && CAUSES.iter().any(|cause| text.contains(cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Blame;

    fn refused(status: u16, text: &str) -> Said {
        Said::Refused { status, text: text.to_owned() }
    }

    /// Texts of Docker Engine 20.10 and 28.2, as they were seen.
    #[test]
    fn pulls_fail_in_many_words() {
        type Is = fn(&RuntimeError) -> bool;
        let cases: &[(u16, &str, Is)] = &[
            (
                500,
                "Get \"http://127.0.0.1:5000/v2/a/manifests/1\": no basic auth credentials",
                |error| matches!(error, RuntimeError::Unauthorized { .. }),
            ),
            (
                500,
                "Head \"https://x/v2/a/manifests/1\": unauthorized: authentication required",
                |error| matches!(error, RuntimeError::Unauthorized { .. }),
            ),
            (
                404,
                "pull access denied for nope, repository does not exist or may require 'docker \
                 login': denied: requested access to the resource is denied",
                |error| matches!(error, RuntimeError::NoSuchImage { .. }),
            ),
            (
                404,
                "manifest for 127.0.0.1:5000/a:2 not found: manifest unknown: manifest unknown",
                |error| matches!(error, RuntimeError::NoSuchImage { .. }),
            ),
            (500, "no matching manifest for linux/amd64 in the manifest list entries", |error| {
                matches!(error, RuntimeError::Platform { .. })
            }),
            (
                500,
                "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
                |error| matches!(error, RuntimeError::Unavailable { .. }),
            ),
            (
                500,
                "Get \"https://nope.example/v2/\": dial tcp: lookup nope.example: no such host",
                |error| matches!(error, RuntimeError::Unavailable { .. }),
            ),
            (500, "toomanyrequests: You have reached your pull rate limit", |error| {
                error.blame() == Blame::Registry
            }),
            (500, "failed to register layer: write /x: no space left on device", |error| {
                matches!(error, RuntimeError::NoSpace { .. })
            }),
            (400, "invalid reference format", |error| {
                matches!(error, RuntimeError::BadReference { .. })
            }),
        ];
        for (status, text, is) in cases {
            let error = of_pull("/s", "a", "r", refused(*status, text));
            assert!(is(&error), "{text}: {error:?}");
        }
    }

    #[test]
    fn containers_fail_by_class() {
        for (said, blame) in [
            (refused(400, "invalid mount config for type \"bind\""), Blame::Spec),
            (refused(404, "No such image: nope:latest"), Blame::Spec),
            (
                refused(
                    500,
                    "OCI runtime create failed: container_linux.go:380: starting container process \
                     caused: exec: \"/nope\": stat /nope: no such file or directory: unknown",
                ),
                Blame::Spec,
            ),
            (
                refused(500, "unable to find user nope: no matching entries in passwd file"),
                Blame::Spec,
            ),
            (refused(500, "mkdir /var/lib/x: no space left on device"), Blame::Node),
            (refused(500, "failed to create endpoint on network bridge"), Blame::Node),
            (Said::Away("connection refused".to_owned()), Blame::Engine),
        ] {
            assert_eq!(of_container("/s", "nope", said.clone()).blame(), blame, "{said:?}");
        }
    }
}
