//! `--format`: `json`, a Go template, or `table` and a template.

mod template;
pub(crate) mod value;

use serde::Serialize;
use serde_json::Value;

use self::template::Template;
use crate::columns::align;
use crate::exit::Failure;

/// A kind of list.
pub(crate) struct Listing {
    /// Fields of a row and what stands over them.
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// The table if nothing is asked for.
    pub(crate) table: &'static str,
    /// What `--quiet` shows.
    pub(crate) quiet: &'static str,
}

impl Listing {
    /// Text of the rows.
    pub(crate) fn render(
        &self,
        rows: &[Value],
        format: Option<&str>,
        quiet: bool,
    ) -> Result<String, Failure> {
        let format = format.map(unescape);
        let (is_table, template) = match format.as_deref().unwrap_or("") {
            "" | "table" if quiet => (false, self.quiet),
            "" | "table" => (true, self.table),
            "json" => (false, "{{json .}}"),
            text => match text.strip_prefix("table") {
                Some(columns) if columns.starts_with(char::is_whitespace) => {
                    (true, columns.trim_start())
                }
                _ => (false, text),
            },
        };
        let template = Template::parse(template).map_err(bad_template)?;
        let header = self.fields.iter().map(|&(name, header)| (name.to_owned(), header.into()));
        let header = Value::Object(header.collect());
        let header = is_table.then_some(&header);
        let lines = header.into_iter().chain(rows).map(|row| template.render_strict(row));
        let lines = lines.collect::<Result<Vec<_>, _>>().map_err(bad_template)?;
        Ok(if is_table {
            align(&lines)
        } else {
            lines.iter().flat_map(|line| [line, "\n"]).collect()
        })
    }
}

/// Text of objects that were inspected: an array, or a template for each.
pub(crate) fn inspect<T: Serialize>(
    objects: &[T],
    format: Option<&str>,
) -> Result<String, Failure> {
    let format = format.map(unescape);
    let template = match format.as_deref() {
        None | Some("") => return pretty_json(&objects).map(|text| text + "\n"),
        Some("json") => "{{json .}}",
        Some(text) => text,
    };
    let template = Template::parse(template).map_err(bad_template)?;
    let mut text = String::new();
    for object in objects {
        let value = serde_json::to_value(object).map_err(unwritable)?;
        text.push_str(&template.render(&value).map_err(bad_template)?);
        text.push('\n');
    }
    Ok(text)
}

/// JSON with four blanks a level, as Docker's `inspect` writes it.
pub(crate) fn pretty_json<T: Serialize>(value: &T) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    value.serialize(&mut serializer).map_err(unwritable)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::new(format!("cannot be written as JSON: {error}"))
}

fn bad_template(error: String) -> Failure {
    Failure::usage(format!("template parsing error: {error}"))
}

/// `\t` and `\n` as people type them in a shell.
fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    const LISTING: Listing = Listing {
        fields: &[("ID", "ID"), ("Name", "NAME"), ("Self", "")],
        table: "{{.ID}} {{if .Self}}*{{else}} {{end}}\t{{.Name}}",
        quiet: "{{.ID}}",
    };

    #[track_caller]
    fn check(format: Option<&str>, quiet: bool, after: Expect) {
        let rows = [
            json!({"ID": "a1", "Name": "web", "Self": true}),
            json!({"ID": "b2", "Name": "a<b", "Self": false}),
        ];
        let text = LISTING.render(&rows, format, quiet).unwrap_or_else(|error| error.to_string());
        after.assert_eq(&text);
    }

    #[test]
    fn lists_are_shown_in_every_format() {
        check(
            None,
            false,
            expect![[r#"
            ID        NAME
            a1 *      web
            b2        a<b
        "#]],
        );
        check(
            None,
            true,
            expect![[r#"
            a1
            b2
        "#]],
        );
        check(
            Some("table {{.Name}}\\t{{.ID}}"),
            false,
            expect![[r#"
            NAME      ID
            web       a1
            a<b       b2
        "#]],
        );
        check(
            Some("{{.Name}}:{{.ID}}"),
            false,
            expect![[r#"
            web:a1
            a<b:b2
        "#]],
        );
        check(
            Some("json"),
            false,
            expect![[r#"
            {"ID":"a1","Name":"web","Self":true}
            {"ID":"b2","Name":"a<b","Self":false}
        "#]],
        );
        check(
            Some("{{.Nosuch}}"),
            false,
            expect![
                "template parsing error: there is no field .Nosuch; fields are .ID .Name .Self"
            ],
        );
    }
}
