//! Keys: one for each scope and value, whatever their texts.

use super::{json, spy::claimed};
use proptest::prelude::*;
use surehand::{IdempotencyKey, idempotency::KeyStyle};

fn key(style: KeyStyle, scope: &str, value: &str) -> String {
    claimed(style, scope, value, "{}").key
}

proptest! {
    /// This also holds if one scope begins like another, or contains the separator.
    #[test]
    fn different_scopes_and_values_have_different_keys(
        (scope, value) in ("[#a]{1,3}|\\PC{1,8}", json::name()),
        (other_scope, other_value) in ("[#a]{1,3}|\\PC{1,8}", json::name()),
    ) {
        for style in [KeyStyle::Sha256, KeyStyle::Powertools] {
            let one = key(style, &scope, &value);
            prop_assert_eq!(&one, &key(style, &scope, &value));
            let other = key(style, &other_scope, &other_value);
            let is_same = scope == other_scope && value == other_value;
            prop_assert_eq!(one == other, is_same, "{} {}", one, other);
        }
    }

    #[test]
    fn a_key_is_its_scope_and_a_hash(scope in "[a-z0-9#-]{1,12}", value in json::name()) {
        for (style, digits) in [(KeyStyle::Sha256, 64), (KeyStyle::Powertools, 32)] {
            let key = key(style, &scope, &value);
            let hash = key.strip_prefix(&format!("{scope}#")).unwrap_or_default();
            prop_assert_eq!(hash.len(), digits);
            prop_assert!(hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        }
    }

    #[test]
    fn what_is_named_after_a_key_is_named_once(
        (key, name) in (json::text(), json::text()),
        (other_key, other_name) in (json::text(), json::text()),
    ) {
        let id = |key: &str, name: &str| IdempotencyKey::new(key).uuid(name);
        prop_assert_eq!(id(&key, &name), id(&key, &name));
        let is_same = key == other_key && name == other_name;
        prop_assert_eq!(id(&key, &name) == id(&other_key, &other_name), is_same);
    }
}
