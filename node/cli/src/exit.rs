//! How a command ends: exit codes and the last words.

use std::fmt;

use api::client::ClientError;
use api::cluster::ProblemKind;

/// It was tried and did not work.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// There is no daemon to ask.
pub(crate) const NOT_REACHABLE: u8 = 3;
/// Nobody leads the cluster.
pub(crate) const NO_QUORUM: u8 = 4;
/// It was not known in time whether it worked.
pub(crate) const TIMEOUT: u8 = 5;

/// Why a command did not work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Exit code 1.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into() }
    }

    /// Exit code 2: the command line is wrong.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    /// Exit code 5: not in time.
    #[must_use]
    pub fn timeout(message: impl Into<String>) -> Self {
        Self { code: TIMEOUT, message: message.into() }
    }

    /// The exit code.
    #[must_use]
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// The same exit code with other words.
    pub(crate) fn with_words(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// The same with something in front.
    pub(crate) fn of(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            // Nobody reads any more (`| head`): that needs no words.
            return Self::new("");
        }
        Self::new(error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::NotReachable { .. } => NOT_REACHABLE,
            ClientError::Refused(problem) => match problem.kind {
                ProblemKind::NoLeader => NO_QUORUM,
                ProblemKind::Unconfirmed => TIMEOUT,
                ProblemKind::Plain | ProblemKind::NotLeader | ProblemKind::NoCluster => FAILED,
            },
            ClientError::Broken { .. } | ClientError::Malformed { .. } | ClientError::Random(_) => {
                FAILED
            }
        };
        Self { code, message: words(&error) }
    }
}

/// The error, its causes, and what to do.
fn words(error: &ClientError) -> String {
    match error {
        ClientError::Refused(problem) => {
            let hint = match problem.kind {
                ProblemKind::NoCluster => "\n`skep status` shows what this node waits for.",
                ProblemKind::Unconfirmed => "\nLook whether it took effect before you repeat it.",
                ProblemKind::Plain | ProblemKind::NoLeader | ProblemKind::NotLeader => "",
            };
            format!("Error response from daemon: {problem}{hint}")
        }
        ClientError::NotReachable { source, .. } => {
            let hint = if source.kind() == std::io::ErrorKind::PermissionDenied {
                "Use the account that runs the daemon, or root."
            } else {
                "Is it running? Start it with `skep up`, or name its socket with -H unix://PATH \
                 (or SKEP_HOST)."
            };
            format!("Cannot connect: {error}: {source}.\n{hint}")
        }
        ClientError::Broken { source, .. } => format!("{error}: {source}"),
        ClientError::Malformed { source, .. } => format!("{error}: {source}"),
        ClientError::Random(source) => format!("{error}: {source}"),
    }
}
