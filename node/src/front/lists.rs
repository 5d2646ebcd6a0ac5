//! Lists as JSON, kept until the state changes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use api::cluster::{Listed, Problem};
use model::Index;
use serde::Serialize;

use crate::convert::RaftView;

/// Lists that are kept: those of a few dozen users who wait for their services. With a thousand
/// nodes or services each has some 2 MB.
const KEPT_MAX: usize = 32;

/// What a list depends on, beside the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Version {
    /// Of the state.
    pub(super) index: Index,
    /// Who votes and who leads, for lists that show it.
    pub(super) raft: RaftView,
}

/// The last lists, by request.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<String, (Version, Listed)>>);

impl Lists {
    /// The list of this version, made anew only if there is none.
    pub(super) fn get<T: Serialize>(
        &self,
        request: String,
        version: Version,
        make: impl FnOnce() -> Result<Vec<T>, Problem>,
    ) -> Result<Listed, Problem> {
        {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((known, list)) = kept.get(&request)
                && *known == version
            {
                return Ok(list.clone());
            }
        }
        let list = Listed::of(&make()?)?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if KEPT_MAX <= kept.len() && !kept.contains_key(&request) {
            kept.clear();
        }
        kept.insert(request, (version, list.clone()));
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_made_once_for_each_version_and_request() {
        let lists = Lists::default();
        let made = std::cell::Cell::new(0);
        let get = |request: &str, index| {
            let version = Version { index: Index(index), raft: RaftView::default() };
            let make = || {
                made.set(made.get() + 1);
                Ok(vec![made.get()])
            };
            lists.get(request.to_owned(), version, make).unwrap()
        };
        let first = get("nodes", 1);
        assert_eq!(get("nodes", 1), first);
        assert_ne!(get("nodes", 2), first);
        assert_ne!(get("tasks", 2), get("nodes", 2));
        assert_eq!(made.get(), 3);
        (0..100).for_each(|number| drop(get(&number.to_string(), 2)));
        let n_kept = lists.0.lock().unwrap().len();
        assert!(n_kept <= KEPT_MAX, "{n_kept}");
    }
}
