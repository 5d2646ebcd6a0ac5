//! `inspect --pretty`, as Docker lays it out.

use std::collections::BTreeMap;
use std::fmt::Write;

use api::wire::file::{Config, Secret};

/// A secret for people; nobody reads what it holds.
pub(super) fn secret(secret: &Secret) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_secret(&mut text, secret);
    text
}

/// A config for people.
pub(super) fn config(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_config(&mut text, config);
    text
}

fn write_secret(text: &mut String, secret: &Secret) -> std::fmt::Result {
    writeln!(text, "ID:              {}", secret.id)?;
    writeln!(text, "Name:              {}", secret.spec.name)?;
    labels(text, &secret.spec.labels)?;
    let driver = secret.spec.driver.as_ref().map_or("", |driver| &driver.name);
    writeln!(text, "Driver:            {driver}")?;
    writeln!(text, "Created at:        {}", time(&secret.created_at))?;
    writeln!(text, "Updated at:        {}", time(&secret.updated_at))
}

fn write_config(text: &mut String, config: &Config) -> std::fmt::Result {
    writeln!(text, "ID:\t\t\t{}", config.id)?;
    writeln!(text, "Name:\t\t\t{}", config.spec.name)?;
    labels(text, &config.spec.labels)?;
    writeln!(text, "Created at:            \t{}", time(&config.created_at))?;
    writeln!(text, "Updated at:            \t{}", time(&config.updated_at))?;
    let data = config.spec.data.as_ref().map_or(&[][..], |data| data.as_bytes());
    writeln!(text, "Data:\n{}", String::from_utf8_lossy(data))
}

fn labels(text: &mut String, labels: &BTreeMap<String, String>) -> std::fmt::Result {
    if labels.is_empty() {
        return Ok(());
    }
    writeln!(text, "Labels:")?;
    labels.iter().try_for_each(|(name, value)| match value.as_str() {
        "" => writeln!(text, " - {name}"),
        value => writeln!(text, " - {name}={value}"),
    })
}

fn time(time: &str) -> String {
    time.replace('T', " ").replace('Z', " +0000 utc")
}
