//! Splits a text into words as a shell does: blanks, quotes, backslashes, nothing else.

/// The words.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('"') | None, '\\') => {
                let escaped = characters.next();
                let escaped = escaped.ok_or_else(|| format!("{text:?} ends in a backslash"))?;
                word.get_or_insert_default().push(escaped);
            }
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("{text:?} has an open quote"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_in_a_shell() {
        for (text, words) in [
            ("", Some(vec![])),
            (" a  b ", Some(vec!["a", "b"])),
            ("sh -c 'echo \"x\" $y'", Some(vec!["sh", "-c", "echo \"x\" $y"])),
            ("a\\ b \"c\\\"d\" ''", Some(vec!["a b", "c\"d", ""])),
            ("'open", None),
            ("end\\", None),
        ] {
            assert_eq!(split(text).ok(), words.map(|w| w.into_iter().map(str::to_owned).collect()));
        }
    }
}
