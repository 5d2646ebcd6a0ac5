//! Which object a user means: full id, then exact name, then unique prefix of an id.

use crate::cluster::Problem;

/// Finds one among `(id, name, object)`.
///
/// # Errors
/// Docker's texts: 404 if there is none, 400 if several fit.
pub fn find<'a, T>(
    kind: &str,
    reference: &str,
    all: impl Iterator<Item = (&'a str, &'a str, T)>,
) -> Result<T, Problem> {
    let mut by_name = Vec::new();
    let mut by_prefix = Vec::new();
    for (id, name, object) in all {
        if id == reference {
            return Ok(object);
        }
        if !reference.is_empty() && name == reference {
            by_name.push(object);
        } else if !reference.is_empty() && id.starts_with(reference) {
            by_prefix.push(object);
        }
    }
    let mut found = if by_name.is_empty() { by_prefix } else { by_name };
    match (found.len(), found.pop()) {
        (1, Some(object)) => Ok(object),
        (0, _) | (_, None) => Err(Problem::not_found(kind, reference)),
        (n_found, Some(_)) => Err(Problem::bad_request(format!(
            "{kind} {reference} is ambiguous ({n_found} matches found)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reference: &str, after: Result<u32, &str>) {
        let all = [("abc1", "web", 1), ("abc2", "db", 2), ("db", "abc1", 3), ("x", "db", 4)];
        let found = find("service", reference, all.into_iter());
        assert_eq!(found.map_err(|problem| problem.message), after.map_err(str::to_owned));
    }

    #[test]
    fn an_id_beats_a_name_and_a_name_beats_a_prefix() {
        check("abc1", Ok(1));
        check("web", Ok(1));
        check("db", Ok(3));
        check("abc2", Ok(2));
        check("abc", Err("service abc is ambiguous (2 matches found)"));
        check("nosuch", Err("service nosuch not found"));
        check("", Err("service  not found"));
    }
}
