//! Whatever somebody types or pastes: keys, tokens, ids, names, constraints.
#![no_main]

use std::str::FromStr;

use crypto::{ClusterKey, NodeId, Token};
use libfuzzer_sys::fuzz_target;
use model::{Constraint, ServiceId, ServiceName};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    crypto::fuzz::texts(data);
    if let Ok(key) = ClusterKey::from_text(text) {
        let again = ClusterKey::from_text(&key.to_text()).expect("it was written");
        assert_eq!(again.as_bytes(), key.as_bytes());
    }
    if let Ok(token) = Token::from_text(text) {
        let again = Token::from_text(&token.to_text()).expect("it was written");
        assert_eq!(again.grant().encode(), token.grant().encode());
    }
    if let Ok(id) = NodeId::from_str(text) {
        assert_eq!(NodeId::from_str(&id.to_string()), Ok(id));
    }
    if let Ok(id) = ServiceId::from_str(text) {
        assert_eq!(ServiceId::from_str(&id.to_string()), Ok(id));
    }
    if let Ok(name) = ServiceName::try_from(text.to_owned()) {
        assert!(name.as_str().len() <= ServiceName::LENGTH_MAX);
        assert_eq!(name.as_str(), text);
    }
    let _ = Constraint::parse(text);
});
