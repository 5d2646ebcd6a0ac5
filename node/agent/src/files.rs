//! Secrets and configs of a task on their way into its container: in memory only.

use model::TaskSpec;
use runtime::TaskFile;

/// The files of one task.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum TaskFiles {
    /// No leader sent them in this life of the process. A container is not made without them.
    #[default]
    Awaited,
    /// All that the task's spec names.
    Here(Vec<TaskFile>),
    /// They cannot be had; why, for the user.
    Unavailable(String),
}

impl TaskFiles {
    /// Whether a task of this spec cannot go on before a leader was heard.
    pub(crate) fn are_missing(&self, spec: &TaskSpec) -> bool {
        let container = &spec.container;
        let names_none = container.secrets.is_empty() && container.configs.is_empty();
        *self == Self::Awaited && !names_none
    }

    /// The files themselves; a task that names none has none.
    pub(crate) fn list(&self) -> Vec<TaskFile> {
        match self {
            Self::Here(files) => files.clone(),
            Self::Awaited | Self::Unavailable(_) => Vec::new(),
        }
    }
}
