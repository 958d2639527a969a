//! What SQS and EventBridge take in one call.

/// The most entries of a request: of SendMessageBatch, DeleteMessageBatch,
/// ChangeMessageVisibilityBatch and PutEvents.
pub const ENTRIES: usize = 10;

/// The most bytes of a message, and of all messages of a SendMessageBatch, as
/// [documented](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html).
pub const MESSAGE_BYTES: usize = 1024 * 1024;

/// The most attributes of a message.
pub const ATTRIBUTES: usize = 10;

/// The most bytes of all events of a PutEvents, so that one may be as large, as
/// [documented](https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html): 1 MB
/// since January 2026, and 256 KB before.
pub const EVENT_BYTES: usize = 1024 * 1024;
