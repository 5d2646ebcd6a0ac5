//! Recorded ids, versions and names, and what they are called here.

use std::collections::BTreeMap;

use serde_json::Value;

/// Learns by meeting the same object in a recorded answer and in ours.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: BTreeMap<String, String>,
    versions: BTreeMap<u64, u64>,
}

/// Length of an id.
const ID_LENGTH: usize = 25;

impl Ids {
    /// `recorded` is what the recording says of the objects of an answer: key, id, version.
    pub(super) fn learn(&mut self, recorded: &Value, answer: &Value) {
        let list = answer.as_array().map(Vec::as_slice);
        let objects = list.unwrap_or_else(|| std::slice::from_ref(answer));
        let mut ours: Vec<(String, &str, u64)> = objects.iter().filter_map(object).collect();
        for one in recorded.as_array().into_iter().flatten() {
            let (Some(key), Some(id)) = (one[0].as_str(), one[1].as_str()) else { continue };
            let key = self.translated(key);
            let known = self.known.get(id).cloned();
            let twin = ours.iter().position(|(our_key, our_id, _)| match &known {
                Some(known) => known == our_id,
                None => *our_key == key,
            });
            let Some(twin) = twin else { continue };
            let (_, our_id, version) = ours.swap_remove(twin);
            self.known.insert(id.to_owned(), our_id.to_owned());
            if let Some(recorded) = one[2].as_u64().filter(|recorded| *recorded != 0) {
                self.versions.insert(recorded, version);
            }
        }
    }

    /// Takes one name for another.
    pub(super) fn rename(&mut self, recorded: &str, ours: &str) {
        self.known.insert(recorded.to_owned(), ours.to_owned());
    }

    /// Whether a text names an object that we never met: it was another node's, or its creation
    /// was refused and reported.
    pub(super) fn is_strange(&self, text: &str) -> bool {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let is_id =
            |word: &&str| word.len() == ID_LENGTH && word.contains(|c: char| c.is_ascii_digit());
        words.filter(is_id).any(|id| !self.known.contains_key(id))
    }

    /// A path, query or body with our ids, names and versions in it.
    pub(super) fn translated(&self, text: &str) -> String {
        let mut out = String::new();
        let mut word = String::new();
        for c in text.chars().chain(['\0']) {
            if c.is_ascii_alphanumeric() {
                word.push(c);
                continue;
            }
            let known =
                self.known.get(&word).filter(|_| word.len() == ID_LENGTH || word == "node1");
            let version = word
                .parse()
                .ok()
                .and_then(|version| self.versions.get(&version))
                .filter(|_| out.ends_with("version="))
                .map(u64::to_string);
            out.push_str(version.as_ref().or(known).unwrap_or(&word));
            word.clear();
            out.push(c);
        }
        out.pop();
        out
    }
}

/// Key, id and version of an object.
fn object(object: &Value) -> Option<(String, &str, u64)> {
    let id = object.get("ID").or_else(|| object.get("Id"))?.as_str()?;
    let version = object["Version"]["Index"].as_u64().unwrap_or(0);
    let name = [&object["Name"], &object["Spec"]["Name"], &object["Description"]["Hostname"]]
        .into_iter()
        .find_map(|name| name.as_str().filter(|name| !name.is_empty()))
        .map(str::to_owned);
    let key = name.unwrap_or_else(|| match object["ServiceID"].as_str() {
        Some(service) => format!(
            "{service}/{}",
            object["Slot"].as_u64().map_or_else(
                || object["NodeID"].as_str().unwrap_or_default().to_owned(),
                |slot| slot.to_string()
            )
        ),
        None => String::new(),
    });
    Some((key, id, version))
}
