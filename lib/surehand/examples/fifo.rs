//! What happens to the rest of a message group when one of its messages fails?
//!
//! It waits: nothing of the group overtakes the message that comes back. Other groups go on.
//!
//! `cargo run -p surehand --example fifo --features testing`

use std::sync::{Arc, Mutex};
use surehand::{
    Delivery, Error, Function, Json, Sqs, State,
    testing::{self, Message, RecordedRedelivery},
};

type Shelf = Arc<Mutex<Vec<String>>>;

async fn shelve(
    Json(book): Json<String>,
    delivery: Delivery,
    State(shelf): State<Shelf>,
) -> surehand::Result<()> {
    if book == "wet" && delivery.receive_count == 1 {
        return Err(Error::transient("it has to dry first"));
    }
    shelf.lock().expect("no handler panics").push(book);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> surehand::Result<()> {
    let (shelf, redelivery) = (Shelf::default(), RecordedRedelivery::new());
    let function = Function::new(Sqs, shelve, shelf.clone()).redelivery(redelivery.clone());

    let book = |title: &str, group: &str, receive| {
        let body = format!("{title:?}");
        let message = Message::body(body).id(title).group(group);
        message.receive_count(receive)
    };
    let batch = [
        book("wet", "poetry", 1),
        book("dry", "poetry", 1),
        book("atlas", "maps", 1),
    ];
    let event = testing::sqs_event("books.fifo", batch);
    let response = function.invoke(event, testing::context()).await?;

    let returned = testing::failed_ids(&response);
    println!(
        "shelved {:?}, returned {returned:?}",
        shelf.lock().expect("no handler panics")
    );
    assert_eq!(*shelf.lock().expect("no handler panics"), ["atlas"]);
    assert_eq!(returned, ["wet", "dry"]);
    // Both come back at the same time, so that SQS delivers them in their order.
    let delays = redelivery.delays();
    assert_eq!(delays[0].1, delays[1].1);

    let batch = [book("wet", "poetry", 2), book("dry", "poetry", 2)];
    let event = testing::sqs_event("books.fifo", batch);
    function.invoke(event, testing::context()).await?;
    println!("shelved {:?}", shelf.lock().expect("no handler panics"));
    assert_eq!(
        *shelf.lock().expect("no handler panics"),
        ["atlas", "wet", "dry"]
    );
    Ok(())
}
