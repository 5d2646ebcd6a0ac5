//! What can go wrong, and whom to blame.

use std::io;

use model::TaskId;
use thiserror::Error;

/// Whom an error is to be blamed on, which decides what the agent does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    /// The spec or the image: trying again as it is does not help. The task is rejected.
    Spec,
    /// A registry that does not answer: trying again may help, here or elsewhere.
    Registry,
    /// This node: trying again may help, another node more so.
    Node,
    /// The engine that runs the containers is away: nothing is known of them, and waiting
    /// is all that helps.
    Engine,
}

/// Why a runtime could not do what it was asked.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The text is no image reference.
    #[error("invalid image reference `{reference}`: {reason}")]
    BadReference {
        /// The text.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Neither this node nor the registry has the image.
    #[error("no such image: {reference}: {reason}")]
    NoSuchImage {
        /// The image.
        reference: String,
        /// Where it was looked for, and what was answered.
        reason: String,
    },
    /// The registry wants a login, or another one.
    #[error("not authorized to pull {reference}: log in with `docker login {registry}`")]
    Unauthorized {
        /// The image.
        reference: String,
        /// The registry.
        registry: String,
    },
    /// The image was built for other machines.
    #[error("image {reference} is for {image}, this node is {node}")]
    Platform {
        /// The image.
        reference: String,
        /// What it was built for.
        image: String,
        /// What this node is.
        node: String,
    },
    /// The image breaks the rules of its format.
    #[error("broken image {reference}: {reason}")]
    BrokenImage {
        /// The image.
        reference: String,
        /// Which rule.
        reason: String,
    },
    /// The spec asks for what this runtime cannot do, or for nonsense.
    #[error("{reason}")]
    Spec {
        /// What, in a sentence for the user.
        reason: String,
    },
    /// The registry does not answer, or not as a registry.
    #[error("registry {registry} is unavailable: {reason}")]
    Unavailable {
        /// The registry.
        registry: String,
        /// What was seen.
        reason: String,
    },
    /// The disk is full.
    #[error("no space left on the node's disk: {step}")]
    NoSpace {
        /// What needed the space.
        step: String,
    },
    /// No container was prepared for this task.
    #[error("no container for task {task}")]
    NoSuchTask {
        /// The task.
        task: TaskId,
    },
    /// A file, a process or a system call failed.
    #[error("{step}")]
    Io {
        /// What was being done, with its object.
        step: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The engine that runs the containers does not answer.
    #[error("Docker Engine at {engine} does not answer: {reason}")]
    Away {
        /// Its socket.
        engine: String,
        /// What was seen.
        reason: String,
    },
    /// The node cannot run the container for another reason.
    #[error("{reason}")]
    Node {
        /// What, in a sentence.
        reason: String,
    },
}

impl RuntimeError {
    /// Whom to blame.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::BadReference { .. }
            | Self::NoSuchImage { .. }
            | Self::Unauthorized { .. }
            | Self::Platform { .. }
            | Self::BrokenImage { .. }
            | Self::Spec { .. } => Blame::Spec,
            Self::Unavailable { .. } => Blame::Registry,
            Self::Away { .. } => Blame::Engine,
            Self::NoSpace { .. }
            | Self::NoSuchTask { .. }
            | Self::Io { .. }
            | Self::Node { .. } => Blame::Node,
        }
    }

    /// An I/O error with what was being done; a full disk is told apart.
    pub(crate) fn io(step: impl Into<String>, source: io::Error) -> Self {
        let step = step.into();
        if is_full(&source) { Self::NoSpace { step } } else { Self::Io { step, source } }
    }
}

/// Whether a disk or a quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
