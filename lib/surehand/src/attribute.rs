//! Message attributes.

/// The value of a message attribute. In SQS a sender may add a label to the type, as in
/// `Number.cents`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with its label.
    pub data_type: String,
    /// The value.
    pub value: AttributeValue,
}

/// What an [`Attribute`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// Of type `String` or `Number`.
    Text(String),
    /// Of type `Binary`.
    Binary(Vec<u8>),
}

impl Attribute {
    /// Returns how many bytes of a message the attribute takes, as SQS counts them: its name, its
    /// type and its value.
    pub fn size(&self, name: &str) -> usize {
        let value = match &self.value {
            AttributeValue::Text(text) => text.len(),
            AttributeValue::Binary(bytes) => bytes.len(),
        };
        name.len() + self.data_type.len() + value
    }
}
