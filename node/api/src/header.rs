//! Headers of our own, and the one of registries.

use http::HeaderName;

/// Names a wish, so that repeating it has effect once.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("skep-request-id");
/// What a program may do about an error.
pub(crate) const PROBLEM: HeaderName = HeaderName::from_static("skep-problem");
/// The answer comes from a node's memory, because nobody leads.
pub(crate) const STALE: HeaderName = HeaderName::from_static("skep-stale");
/// Credentials for a registry.
pub(crate) const REGISTRY_AUTH: HeaderName = HeaderName::from_static("x-registry-auth");
/// Newest API version of whoever answers.
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("api-version");
