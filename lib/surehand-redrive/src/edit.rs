//! A changed event is another event.

use crate::letter::Letter;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use surehand::{Error, Metadata, Result, envelope::RawEvent};

/// The body for an edit of the letter's event: `body` with a new event id, and the old one as what
/// caused it, so that consumers that handled the old event handle this one too.
///
/// `body` has the form of [`Letter::payload`]. Events of other producers whose form has no place for
/// either get what there is a place for; JSON without an id goes by its message's id, which is a new
/// one in any case.
///
/// # Errors
/// If the letter has nothing to edit, or `body` is not JSON.
pub fn edited(letter: &Letter, body: &str) -> Result<String> {
    let old = letter.event().map(|event| event.id);
    if letter.payload().is_none() {
        return Err(Error::rejected(format!(
            "letter {} holds no event that could be edited",
            letter.id
        )));
    }
    let mut value: Value = serde_json::from_str(body)
        .map_err(|error| Error::malformed(format!("the edited body is not JSON: {error}")))?;
    let new = uuid::Uuid::now_v7().to_string();
    if let Some(metadata) = of_attributes(letter) {
        return Ok(structured(metadata, &new, value).to_string());
    }
    if let Value::Object(fields) = &mut value {
        rename(fields, &new, old.as_deref())?;
    }
    Ok(value.to_string())
}

/// The forms are those that `envelope::read` knows.
fn rename(fields: &mut Map<String, Value>, new: &str, old: Option<&str>) -> Result<()> {
    if frame(fields, new, old) {
        return Ok(());
    }
    if is_text("source", fields) && is_text("detail-type", fields) && fields.contains_key("detail")
    {
        let has_its_own = match fields.get_mut("detail") {
            Some(Value::Object(detail)) => frame(detail, new, old) || cloud(detail, new, old),
            _ => false,
        };
        if !has_its_own {
            fields.insert("id".into(), new.into());
        }
        return Ok(());
    }
    if cloud(fields, new, old) {
        return Ok(());
    }
    let is_notification = fields
        .get("Type")
        .is_some_and(|kind| kind == "Notification");
    if is_notification && let Some(Value::String(message)) = fields.get("Message") {
        let mut inner: Value = serde_json::from_str(message).map_err(|error| {
            Error::malformed(format!(
                "the edited notification's message is not JSON: {error}"
            ))
        })?;
        if let Value::Object(inner) = &mut inner {
            rename(inner, new, old)?;
        }
        fields.insert("Message".into(), inner.to_string().into());
        // Without an id of its own the event goes by the notification's.
        fields.insert("MessageId".into(), new.into());
    }
    Ok(())
}

fn is_text(name: &str, fields: &Map<String, Value>) -> bool {
    fields.get(name).is_some_and(Value::is_string)
}

/// A CloudEvent in structured mode.
fn cloud(fields: &mut Map<String, Value>, new: &str, old: Option<&str>) -> bool {
    let context = ["specversion", "id", "source", "type"];
    if !context.iter().all(|name| is_text(name, fields)) {
        return false;
    }
    fields.insert("id".into(), new.into());
    if let Some(old) = old {
        fields.insert("causationid".into(), old.into());
    }
    true
}

/// What the letter's attributes say of its event, if that is a CloudEvent in binary mode: without them it
/// would be another one.
fn of_attributes(letter: &Letter) -> Option<Metadata> {
    let metadata = letter.raw_event()?.metadata;
    let without = RawEvent::read(&letter.payload()?, &BTreeMap::new(), &letter.id, None);
    (!letter.attributes.is_empty() && without.ok()?.metadata.id != metadata.id).then_some(metadata)
}

/// The same CloudEvent in structured mode, with this data: an edit changes no attribute, and a body that
/// says itself what it is counts before them.
fn structured(event: Metadata, new: &str, data: Value) -> Value {
    let time = event
        .time
        .and_then(|time| jiff::Timestamp::try_from(time).ok());
    let mut fields = Map::from_iter([("data".to_owned(), data)]);
    for (name, text) in [
        ("specversion", Some("1.0".to_owned())),
        ("id", Some(new.to_owned())),
        ("source", event.source),
        ("type", event.detail_type),
        ("time", time.map(|time| time.to_string())),
        ("subject", event.subject),
        ("partitionkey", event.partition_key),
        ("correlationid", event.correlation_id),
        ("causationid", Some(event.id)),
        ("traceparent", event.traceparent),
    ] {
        if let Some(text) = text {
            fields.insert(name.to_owned(), text.into());
        }
    }
    fields.into()
}

fn frame(fields: &mut Map<String, Value>, new: &str, old: Option<&str>) -> bool {
    if !fields.contains_key("data") {
        return false;
    }
    match fields.get_mut("metadata") {
        Some(Value::Object(metadata)) if metadata.get("id").is_some_and(Value::is_string) => {
            metadata.insert("id".into(), new.into());
            if let Some(old) = old {
                metadata.insert("causationid".into(), old.into());
            }
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use surehand::record::{Attribute, AttributeValue};

    fn read(body: &str, attributes: &BTreeMap<String, Attribute>) -> RawEvent {
        RawEvent::read(body, attributes, "m", None).unwrap()
    }

    #[test]
    fn an_edit_of_an_event_that_its_attributes_describe_is_another_event_too() {
        let mut letter = Letter::new("m", r#"{"n": 1}"#);
        for (name, text) in [
            ("ce_specversion", "1.0"),
            ("ce_id", "e-1"),
            ("ce_source", "s"),
            ("ce_type", "t"),
            ("ce_subject", "order/1"),
        ] {
            let value = AttributeValue::Text(text.into());
            let data_type = "String".into();
            (letter.attributes).insert(name.into(), Attribute { data_type, value });
        }
        let edited = edited(&letter, r#"{"n": 2}"#).unwrap();
        // The attributes travel with it as they are.
        let event = read(&edited, &letter.attributes);
        assert_eq!(event.metadata.id.len(), 36, "{edited}");
        assert_eq!(event.metadata.causation_id.as_deref(), Some("e-1"));
        assert_eq!(event.metadata.subject.as_deref(), Some("order/1"));
        assert_eq!(event.metadata.detail_type.as_deref(), Some("t"));
        assert_eq!(event.data, r#"{"n":2}"#);
    }

    #[test]
    fn an_edit_is_another_event_caused_by_the_first() {
        let framed = json!({"metadata": {"id": "e-1", "correlationid": "c"}, "data": {"n": 1}});
        let bus = json!({"id": "b", "source": "s", "detail-type": "t", "detail": framed});
        let cloud =
            json!({"specversion": "1.0", "id": "e-1", "source": "s", "type": "t", "data": 1});
        let cloud_bus =
            json!({"id": "b", "source": "s", "detail-type": "t", "detail": cloud.clone()});
        let sns = json!({"Type": "Notification", "MessageId": "n", "TopicArn": "t", "Message": bus.to_string()});
        for body in [framed, bus, cloud, cloud_bus, sns] {
            let letter = Letter::new("m", body.to_string());
            let edited = edited(&letter, &letter.body).unwrap();
            let metadata = read(&edited, &BTreeMap::new()).metadata;
            assert_ne!(metadata.id, "e-1");
            assert_eq!(metadata.id.len(), 36, "{edited}");
            assert_eq!(metadata.causation_id.as_deref(), Some("e-1"), "{edited}");
        }
        let plain = json!({"id": "b", "source": "s", "detail-type": "t", "detail": {"a": 1}});
        let letter = Letter::new("m", plain.to_string());
        let edited_plain: Value =
            serde_json::from_str(&edited(&letter, &letter.body).unwrap()).unwrap();
        assert_ne!(edited_plain["id"], "b");
        assert!(edited(&letter, "{").unwrap_err().is_malformed());
        assert_eq!(edited(&Letter::new("m", "[1]"), "[2]").unwrap(), "[2]");
    }
}
