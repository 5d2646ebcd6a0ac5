//! The part of Go's templates that people use in `--format`.

use serde_json::Value;

use super::value::{apply, is_true, show};

/// Deepest nesting of blocks and brackets: nobody writes more, and parsing recurses.
const DEPTH_MAX: usize = 32;

/// A template, ready to be filled in.
#[derive(Debug)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Show(Pipe),
    If(Pipe, Vec<Self>, Vec<Self>),
    Range(Pipe, Vec<Self>, Vec<Self>),
    With(Pipe, Vec<Self>, Vec<Self>),
}

/// Commands that feed each other.
type Pipe = Vec<Vec<Operand>>;

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// `.A.B`; no names are the dot itself.
    Dot(Vec<String>),
    /// `$.A.B`
    Root(Vec<String>),
    Constant(Value),
    Function(String),
    Bracket(Vec<Vec<Self>>),
}

/// What a template is filled in from.
#[derive(Clone, Copy)]
struct Scope<'a> {
    root: &'a Value,
    dot: &'a Value,
    /// Fields of the dot that do not exist are errors.
    strict: bool,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = lex(text)?.into_iter();
        let (pieces, end) = block(&mut tokens, 0)?;
        match end {
            End::OfText => Ok(Self(pieces)),
            End::Else(_) | End::Block => Err("unexpected {{end}} or {{else}}".to_owned()),
        }
    }

    /// Fields that do not exist show as `<no value>`, as in Go.
    pub(crate) fn render(&self, value: &Value) -> Result<String, String> {
        self.fill(Scope { root: value, dot: value, strict: false })
    }

    /// Fields that do not exist are errors that name those that do.
    pub(crate) fn render_strict(&self, value: &Value) -> Result<String, String> {
        self.fill(Scope { root: value, dot: value, strict: true })
    }

    fn fill(&self, scope: Scope<'_>) -> Result<String, String> {
        let mut text = String::new();
        fill(&self.0, scope, &mut text)?;
        Ok(text)
    }
}

fn fill(pieces: &[Piece], scope: Scope<'_>, text: &mut String) -> Result<(), String> {
    for piece in pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Show(pipe) => text.push_str(&show(&evaluate(pipe, scope)?)),
            Piece::If(pipe, then, otherwise) => {
                let taken = if is_true(&evaluate(pipe, scope)?) { then } else { otherwise };
                fill(taken, scope, text)?;
            }
            Piece::With(pipe, then, otherwise) => {
                let value = evaluate(pipe, scope)?;
                if is_true(&value) {
                    fill(then, Scope { dot: &value, strict: false, ..scope }, text)?;
                } else {
                    fill(otherwise, scope, text)?;
                }
            }
            Piece::Range(pipe, each, otherwise) => {
                let all = match evaluate(pipe, scope)? {
                    Value::Array(all) => all,
                    Value::Object(all) => all.into_iter().map(|(_, value)| value).collect(),
                    Value::Null => Vec::new(),
                    other @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                        return Err(format!("range can't iterate over {}", show(&other)));
                    }
                };
                if all.is_empty() {
                    fill(otherwise, scope, text)?;
                }
                for value in &all {
                    fill(each, Scope { dot: value, strict: false, ..scope }, text)?;
                }
            }
        }
    }
    Ok(())
}

fn evaluate(pipe: &Pipe, scope: Scope<'_>) -> Result<Value, String> {
    let mut last = None;
    for command in pipe {
        let (first, rest) = command.split_first().ok_or("missing value")?;
        let mut arguments =
            rest.iter().map(|operand| value_of(operand, scope)).collect::<Result<Vec<_>, _>>()?;
        arguments.extend(last.take());
        last = Some(if let Operand::Function(name) = first {
            apply(name, &arguments)?
        } else if arguments.is_empty() {
            value_of(first, scope)?
        } else {
            return Err("can't give arguments to something that is no function".to_owned());
        });
    }
    last.ok_or_else(|| "missing value".to_owned())
}

fn value_of(operand: &Operand, scope: Scope<'_>) -> Result<Value, String> {
    match operand {
        Operand::Dot(names) => look_up(scope.dot, names, scope.strict),
        Operand::Root(names) => look_up(scope.root, names, scope.strict),
        Operand::Constant(value) => Ok(value.clone()),
        Operand::Function(name) => apply(name, &[]),
        Operand::Bracket(pipe) => evaluate(pipe, scope),
    }
}

fn look_up(value: &Value, names: &[String], strict: bool) -> Result<Value, String> {
    let mut found = value;
    for name in names {
        found = match (found, found.get(name)) {
            (_, Some(inner)) => inner,
            (Value::Object(fields), None) if strict => {
                let known: Vec<_> = fields.keys().map(|known| format!(".{known}")).collect();
                return Err(format!("there is no field .{name}; fields are {}", known.join(" ")));
            }
            (_, None) => &Value::Null,
        };
    }
    Ok(found.clone())
}

/// A stretch of plain text, or what stands between braces.
enum Token {
    Text(String),
    Action(String),
}

fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let (mut rest, mut trim) = (text, false);
    while let Some((plain, after)) = rest.split_once("{{") {
        let (action, tail) = after.split_once("}}").ok_or("unclosed action")?;
        let plain = if trim { plain.trim_start() } else { plain };
        let (plain, action) = match action.strip_prefix("- ") {
            Some(action) => (plain.trim_end(), action),
            None => (plain, action),
        };
        let (action, trim_next) = match action.strip_suffix(" -") {
            Some(action) => (action, true),
            None => (action, false),
        };
        tokens.push(Token::Text(plain.to_owned()));
        tokens.push(Token::Action(action.trim().to_owned()));
        (rest, trim) = (tail, trim_next);
    }
    tokens.push(Token::Text(if trim { rest.trim_start() } else { rest }.to_owned()));
    Ok(tokens)
}

/// What ended a block.
enum End {
    OfText,
    /// `else`, with the condition of an `else if`.
    Else(Option<String>),
    Block,
}

fn block(
    tokens: &mut std::vec::IntoIter<Token>,
    depth: usize,
) -> Result<(Vec<Piece>, End), String> {
    if DEPTH_MAX < depth {
        return Err("blocks are nested too deep".to_owned());
    }
    let mut pieces = Vec::new();
    while let Some(token) = tokens.next() {
        let action = match token {
            Token::Text(text) => {
                pieces.push(Piece::Text(text));
                continue;
            }
            Token::Action(action) => action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((&action, ""));
        match word {
            "end" => return Ok((pieces, End::Block)),
            "else" => {
                let condition = rest.trim().strip_prefix("if ").map(str::to_owned);
                return Ok((pieces, End::Else(condition)));
            }
            "if" => pieces.push(condition(rest, tokens, depth)?),
            "range" | "with" => {
                let pipe = pipe(rest)?;
                let (then, otherwise) = branches(tokens, depth)?;
                pieces.push(if word == "range" {
                    Piece::Range(pipe, then, otherwise)
                } else {
                    Piece::With(pipe, then, otherwise)
                });
            }
            comment if comment.starts_with("/*") => {}
            _ => pieces.push(Piece::Show(pipe(&action)?)),
        }
    }
    Ok((pieces, End::OfText))
}

fn condition(
    text: &str,
    tokens: &mut std::vec::IntoIter<Token>,
    depth: usize,
) -> Result<Piece, String> {
    let test = pipe(text)?;
    let (then, end) = block(tokens, depth + 1)?;
    let otherwise = match end {
        End::Block => Vec::new(),
        End::Else(Some(test)) => vec![condition(&test, tokens, depth + 1)?],
        End::Else(None) => last_branch(tokens, depth)?,
        End::OfText => return Err("missing {{end}}".to_owned()),
    };
    Ok(Piece::If(test, then, otherwise))
}

fn branches(
    tokens: &mut std::vec::IntoIter<Token>,
    depth: usize,
) -> Result<(Vec<Piece>, Vec<Piece>), String> {
    let (then, end) = block(tokens, depth + 1)?;
    match end {
        End::Block => Ok((then, Vec::new())),
        End::Else(None) => Ok((then, last_branch(tokens, depth)?)),
        End::Else(Some(_)) | End::OfText => Err("missing {{end}}".to_owned()),
    }
}

fn last_branch(tokens: &mut std::vec::IntoIter<Token>, depth: usize) -> Result<Vec<Piece>, String> {
    match block(tokens, depth + 1)? {
        (pieces, End::Block) => Ok(pieces),
        (_, End::Else(_) | End::OfText) => Err("missing {{end}}".to_owned()),
    }
}

fn pipe(text: &str) -> Result<Pipe, String> {
    let (pipe, rest) = commands(text, 0)?;
    if rest.is_empty() { Ok(pipe) } else { Err(format!("unexpected {rest:?} in command")) }
}

/// Commands up to the end or a closing bracket, and what is left.
fn commands(text: &str, depth: usize) -> Result<(Pipe, &str), String> {
    if DEPTH_MAX < depth {
        return Err("brackets are nested too deep".to_owned());
    }
    let (mut pipe, mut command, mut rest) = (Vec::new(), Vec::new(), text.trim_start());
    while !rest.is_empty() && !rest.starts_with(')') {
        if let Some(tail) = rest.strip_prefix('|') {
            pipe.push(std::mem::take(&mut command));
            rest = tail.trim_start();
            continue;
        }
        if let Some(tail) = rest.strip_prefix('(') {
            let (inner, tail) = commands(tail, depth + 1)?;
            let tail = tail.strip_prefix(')').ok_or("unclosed bracket")?;
            command.push(Operand::Bracket(inner));
            rest = tail.trim_start();
            continue;
        }
        let (operand, tail) = operand(rest)?;
        command.push(operand);
        rest = tail.trim_start();
    }
    pipe.push(command);
    if pipe.iter().any(Vec::is_empty) {
        return Err("missing value for command".to_owned());
    }
    Ok((pipe, rest))
}

fn operand(text: &str) -> Result<(Operand, &str), String> {
    if let Some(raw) = text.strip_prefix('`') {
        let (constant, rest) = raw.split_once('`').ok_or("unclosed string")?;
        return Ok((Operand::Constant(constant.into()), rest));
    }
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let constant = values.next().and_then(Result::ok).ok_or("bad string")?;
        return Ok((Operand::Constant(constant.into()), &text[values.byte_offset()..]));
    }
    let end = text.find(|c: char| c.is_whitespace() || "|()\"`".contains(c));
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    let names =
        |path: &str| path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let operand = if let Some(path) = word.strip_prefix('.') {
        Operand::Dot(names(path))
    } else if let Some(path) =
        word.strip_prefix('$').filter(|path| path.is_empty() || path.starts_with('.'))
    {
        Operand::Root(names(path))
    } else if let Ok(constant) = serde_json::from_str::<Value>(word) {
        Operand::Constant(constant)
    } else if word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Operand::Function(word.to_owned())
    } else {
        return Err(format!("unexpected {word:?} in operand"));
    };
    Ok((operand, rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(template: &str, after: &str) {
        let value = json!({
            "Name": "web",
            "Spec": {"Labels": {"a.b": "c"}, "Replicas": 3},
            "Ports": [{"P": 80}, {"P": 81}],
            "None": [],
            "Off": false,
        });
        let text = Template::parse(template).and_then(|template| template.render(&value));
        assert_eq!(text.unwrap_or_else(|error| format!("error: {error}")), after, "{template}");
    }

    #[test]
    fn templates_do_what_go_does() {
        check("plain", "plain");
        check("{{.Name}} {{ .Spec.Replicas }}", "web 3");
        check("{{.Nosuch.Deep}}", "<no value>");
        check("{{json .Spec.Labels}}", r#"{"a.b":"c"}"#);
        check("{{.Spec.Labels}} {{.Ports}}", "map[a.b:c] [map[P:80] map[P:81]]");
        check(r#"{{index .Spec.Labels "a.b"}}"#, "c");
        check("{{range .Ports}}{{.P}},{{end}}", "80,81,");
        check("{{range .None}}x{{else}}none{{end}}", "none");
        check("{{range .Ports}}{{$.Name}}{{end}}", "webweb");
        check("{{if .Off}}on{{else if .Name}}named{{else}}no{{end}}", "named");
        check("{{with .Spec}}{{.Replicas}}{{end}}", "3");
        check("{{.Name | upper | json}}", "\"WEB\"");
        check("{{len .Ports}} {{len .Name}}", "2 3");
        check("{{if eq .Name \"web\"}}yes{{end}}", "yes");
        check("{{if and .Name (not .Off)}}yes{{end}}", "yes");
        check("{{printf \"%s=%d\" .Name .Spec.Replicas}}", "web=3");
        check("a {{- .Name -}} b", "awebb");
        check("{{/* nothing */}}", "");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        check("{{", "error: unclosed action");
        check("{{if .Name}}", "error: missing {{end}}");
        check("{{end}}", "error: unexpected {{end}} or {{else}}");
        check("{{nosuch .Name}}", "error: function \"nosuch\" not defined");
        check("{{}}", "error: missing value for command");
        check("{{.Name .Off}}", "error: can't give arguments to something that is no function");
        check(&"{{if .Name}}".repeat(40), "error: blocks are nested too deep");
        check(&format!("{{{{{}.Name}}}}", "(".repeat(40)), "error: brackets are nested too deep");
    }
}
