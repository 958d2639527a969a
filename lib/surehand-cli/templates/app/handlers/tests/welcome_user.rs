//! The handler, called as Lambda would call it, without AWS.

use handlers::{events::UserRegistered, welcome_user::welcome_user};
use surehand::{
    Function, MemoryStore, Sqs,
    testing::{self, Message, RecordedDeadLetters},
};

fn registered(name: &str) -> Message {
    Message::event(&UserRegistered {
        user_id: "u-1".to_owned(),
        name: name.to_owned(),
    })
}

#[tokio::test]
async fn users_are_welcomed_and_those_without_a_name_are_parked() {
    let dead_letters = RecordedDeadLetters::new();
    let function = Function::new(Sqs, welcome_user, ())
        .idempotent(MemoryStore::new())
        .dead_letters(dead_letters.clone());

    let batch = testing::sqs_event("users", [registered("Ada"), registered("")]);
    let response = function.invoke(batch, testing::context()).await.unwrap();

    // Neither comes back: one is handled, and the other is parked together with the reason.
    assert!(testing::failed_ids(&response).is_empty());
    let parked = dead_letters.parked();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].1.kind, "rejected");
    assert_eq!(parked[0].1.message, "user u-1 has no name");
}
