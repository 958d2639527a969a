use crate::stand_in::StandIn;
use aws_sdk_sesv2::Client;
use shop::{
    events::{OrderRejected, StockReserved},
    notify_customer::{Mailer, notify_customer},
};
use surehand::{
    Function, MemoryStore, Sqs,
    testing::{self, Message},
};

fn function(ses: &StandIn) -> Function<Sqs> {
    let mailer = Mailer::new(Client::new(&ses.aws), "shop@example.com");
    Function::new(Sqs, notify_customer(), mailer).idempotent(MemoryStore::new())
}

fn reserved() -> Message {
    Message::event(&StockReserved {
        order_id: "o-1".into(),
        customer_id: "c-1".into(),
        email: "ada@example.com".into(),
    })
}

#[tokio::test]
async fn each_outcome_is_mailed_once() {
    let ses = StandIn::answering(&[(200, r#"{"MessageId": "m-1"}"#)]).await;
    let rejected = Message::event(&OrderRejected {
        order_id: "o-2".into(),
        customer_id: "c-2".into(),
        email: "ben@example.com".into(),
        reason: "not enough in stock of pen".into(),
    });
    let function = function(&ses);
    for message in [reserved().id("1"), rejected] {
        let twice = [message.clone(), message.id("again")];
        let event = testing::sqs_event("notify-customer", twice);
        let response = function.invoke(event, testing::context()).await.unwrap();
        assert!(testing::failed_ids(&response).is_empty());
    }

    let mails = ses.requests();
    assert_eq!(mails.len(), 2);
    let told = mails.iter().map(|mail| {
        let message = &mail["Content"]["Simple"];
        (
            mail["Destination"]["ToAddresses"][0].as_str().unwrap(),
            message["Subject"]["Data"].as_str().unwrap(),
            message["Body"]["Text"]["Data"].as_str().unwrap(),
        )
    });
    let told: Vec<_> = told.collect();
    assert_eq!(
        told,
        [
            (
                "ada@example.com",
                "Your order o-1",
                "Thank you! Your order o-1 is on its way.",
            ),
            (
                "ben@example.com",
                "Your order o-2",
                "We are sorry. Your order o-2 cannot be delivered: not enough in stock of pen.",
            ),
        ]
    );
    assert_eq!(mails[0]["FromEmailAddress"], "shop@example.com");
    assert_eq!(mails[0]["EmailTags"][0]["Name"], "idempotency-key");
    assert_ne!(mails[0]["EmailTags"], mails[1]["EmailTags"]);
}

#[tokio::test]
async fn a_mail_that_ses_does_not_take_is_tried_again_under_its_key() {
    let refused = r#"{"__type": "MailFromDomainNotVerifiedException", "message": "not yet"}"#;
    let answers: &'static [_] =
        Box::leak(Box::new([(400, refused), (200, r#"{"MessageId": "m-1"}"#)]));
    let ses = StandIn::answering(answers).await;
    let (function, message) = (function(&ses), reserved().id("1"));
    let event = || testing::sqs_event("notify-customer", [message.clone()]);
    let first = function.invoke(event(), testing::context()).await.unwrap();
    assert_eq!(testing::failed_ids(&first), ["1"]);
    let second = function.invoke(event(), testing::context()).await.unwrap();
    assert!(testing::failed_ids(&second).is_empty());
    let mails = ses.requests();
    assert_eq!(mails[0]["EmailTags"], mails[1]["EmailTags"]);
}
