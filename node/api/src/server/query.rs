//! The query of a request, read as leniently as Docker does.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::cluster::Problem;
use crate::filters::Filters;

/// Values by name; of a repeated name, the first, as Go's `FormValue` does.
#[derive(Debug, Default)]
pub(super) struct Query(HashMap<String, String>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let mut values = HashMap::new();
        for (name, value) in pairs(text) {
            values.entry(name).or_insert(value);
        }
        Self(values)
    }

    /// A value; empty if it was not given.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether it is on: everything is but nothing, `0`, `no`, `false` and `none`.
    pub(super) fn is_on(&self, name: &str) -> bool {
        let value = self.text(name).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// `filters=`.
    pub(super) fn filters(&self, known: &[&str]) -> Result<Filters, Problem> {
        Filters::parse(self.text("filters"), known)
    }

    /// `version=` of an update.
    pub(super) fn version(&self, kind: &str) -> Result<u64, Problem> {
        let text = self.text("version");
        text.parse().map_err(|_| {
            Problem::bad_request(format!(
                "invalid {kind} version '{text}': strconv.ParseUint: parsing \"{text}\": invalid \
                 syntax"
            ))
        })
    }
}

/// Decoded pairs; what cannot be decoded is left out.
fn pairs(text: &str) -> Vec<(String, String)> {
    let uri = http::Uri::builder().path_and_query(format!("/?{text}")).build();
    let pairs = uri.ok().and_then(|uri| axum::extract::Query::try_from_uri(&uri).ok());
    pairs.map(|axum::extract::Query(pairs)| pairs).unwrap_or_default()
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or("")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_words_are_switches() {
        let query = Query::parse("a=1&b=false&c=&d&e=%7B%22x%22%7D&a=2&f=None&g=yes");
        assert_eq!(query.text("a"), "1");
        assert_eq!(query.text("e"), "{\"x\"}");
        let on = ["a", "b", "c", "d", "f", "g", "h"].map(|name| query.is_on(name));
        assert_eq!(on, [true, false, false, false, false, true, false]);
    }

    #[test]
    fn a_version_that_is_none_is_refused_in_dockers_words() {
        let problem = Query::default().version("service").unwrap_err();
        assert_eq!(
            problem.message,
            "invalid service version '': strconv.ParseUint: parsing \"\": invalid syntax"
        );
        assert_eq!(Query::parse("version=7").version("node"), Ok(7));
    }
}
