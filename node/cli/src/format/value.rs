//! Values of templates: how Go shows them, and functions on them.

use std::cmp::Ordering;

use serde_json::Value;

/// As Go's `fmt` shows it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(all) => {
            let all: Vec<_> = all.iter().map(show).collect();
            format!("[{}]", all.join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| format!("{name}:{}", show(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// Whether Go's `if` takes it.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Calls a function.
pub(super) fn apply(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let nth = |nth: usize| {
        arguments.get(nth).ok_or_else(|| format!("wrong number of arguments for {name}"))
    };
    let text = |at: usize| nth(at).map(show);
    Ok(match name {
        "json" => nth(0)?.to_string().into(),
        "upper" => text(0)?.to_uppercase().into(),
        "lower" => text(0)?.to_lowercase().into(),
        "title" => title(&text(0)?).into(),
        "len" => length(nth(0)?)?.into(),
        "print" => arguments.iter().map(show).collect::<Vec<_>>().join(" ").into(),
        "println" => (arguments.iter().map(show).collect::<Vec<_>>().join(" ") + "\n").into(),
        "printf" => printf(&text(0)?, arguments.get(1..).unwrap_or(&[])).into(),
        "join" => match nth(0)?.as_array() {
            Some(all) => all.iter().map(show).collect::<Vec<_>>().join(&text(1)?).into(),
            None => return Err(format!("can't join {}", text(0)?)),
        },
        "split" => text(0)?.split(&text(1)?).map(Value::from).collect::<Vec<_>>().into(),
        "truncate" => {
            let length = nth(1)?.as_u64().and_then(|length| usize::try_from(length).ok());
            text(0)?.chars().take(length.unwrap_or(usize::MAX)).collect::<String>().into()
        }
        "index" => index(arguments)?,
        "not" => (!is_true(nth(0)?)).into(),
        "and" => choose(arguments, false)?,
        "or" => choose(arguments, true)?,
        "eq" => arguments.iter().skip(1).any(|other| Some(other) == arguments.first()).into(),
        "ne" => (nth(0)? != nth(1)?).into(),
        "lt" => (compare(nth(0)?, nth(1)?)? == Ordering::Less).into(),
        "le" => (compare(nth(0)?, nth(1)?)? != Ordering::Greater).into(),
        "gt" => (compare(nth(0)?, nth(1)?)? == Ordering::Greater).into(),
        "ge" => (compare(nth(0)?, nth(1)?)? != Ordering::Less).into(),
        _ => return Err(format!("function {name:?} not defined")),
    })
}

/// The first that is true (or false), else the last.
fn choose(arguments: &[Value], wanted: bool) -> Result<Value, String> {
    let found = arguments.iter().find(|value| is_true(value) == wanted);
    let found = found.or_else(|| arguments.last());
    found.cloned().ok_or_else(|| "wrong number of arguments".to_owned())
}

/// First letter in capitals.
pub(crate) fn title(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().collect::<String>());
    first.unwrap_or_default() + characters.as_str()
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(all) => Ok(all.len()),
        Value::Object(fields) => Ok(fields.len()),
        Value::Bool(_) | Value::Number(_) => Err(format!("len of {}", show(value))),
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let (first, keys) = arguments.split_first().ok_or("index of nothing")?;
    let mut value = first;
    for key in keys {
        let nth = key.as_u64().and_then(|nth| usize::try_from(nth).ok());
        let found = nth.map_or_else(|| value.get(show(key)), |nth| value.get(nth));
        value = found.unwrap_or(&Value::Null);
    }
    Ok(value.clone())
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    let numbers = a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b));
    let texts = || a.as_str().zip(b.as_str()).map(|(a, b)| a.cmp(b));
    numbers.or_else(texts).ok_or_else(|| "incompatible types for comparison".to_owned())
}

/// `%s`, `%d`, `%v` and `%q`; flags and widths are not known.
fn printf(format: &str, arguments: &[Value]) -> String {
    let (mut text, mut arguments) = (String::new(), arguments.iter());
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match characters.next() {
            Some('%') => text.push('%'),
            Some('q') => {
                let shown = arguments.next().map(show).unwrap_or_default();
                text.push_str(&format!("{shown:?}"));
            }
            Some(_) => text.push_str(&arguments.next().map(show).unwrap_or_default()),
            None => {}
        }
    }
    text
}
