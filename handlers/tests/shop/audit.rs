use crate::shop_tables;
use serde_json::json;
use shop::audit::{AuditLog, Audited, audit};
use surehand::{EventBridge, Function, testing};

#[tokio::test]
async fn every_event_is_written_down_once() {
    let dynamo = shop_tables().await;
    let function = Function::new(
        EventBridge,
        audit,
        AuditLog::new(dynamo.tables_for(AuditLog::access())),
    );
    let event = json!({
        "version": "0", "id": "bus-1", "source": "shop.anything", "detail-type": "SomethingNew",
        "account": "123456789012", "time": "2026-11-21T10:00:00Z", "region": "eu-central-1",
        "resources": [],
        "detail": {
            "metadata": {"id": "e-1", "time": "2026-11-21T10:00:00.250Z", "version": 7},
            "data": {"n": 1}
        }
    });
    for _ in 0..2 {
        let event = testing::direct_event(&event);
        function.invoke(event, testing::context()).await.unwrap();
    }
    assert_eq!(dynamo.all::<Audited>().await.len(), 1);
    let identity = r#"["shop.anything","SomethingNew","e-1"]"#;
    let row = dynamo.get(Audited::key(identity)).await.unwrap();
    assert_eq!(row.r#type.as_deref(), Some("SomethingNew"));
    assert_eq!(row.source.as_deref(), Some("shop.anything"));
    assert_eq!(row.time.as_deref(), Some("2026-11-21T10:00:00.25Z"));
    assert_eq!(row.data, r#"{"n":1}"#);

    // Whoever knows an id cannot hide its event behind one of another type.
    let mut other = event.clone();
    other["detail-type"] = "SomethingElse".into();
    let other = testing::direct_event(&other);
    function.invoke(other, testing::context()).await.unwrap();
    assert_eq!(dynamo.all::<Audited>().await.len(), 2);
}
