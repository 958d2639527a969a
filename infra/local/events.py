"""Makes the events to try each function with, in tests/data/events/local: `python events.py`.

What Lambda would be sent is made by `sam local generate-event`; added is only what that cannot say. The
SAM CLI must be on the PATH (`surehand tools` prints where it is).
"""

import hashlib
import json
import pathlib
import subprocess

FOLDER = pathlib.Path(__file__).parents[2] / "tests/data/events/local"
REGION = "us-east-1"
ACCOUNT = "000000000000"
TIME = "2026-11-21T10:00:00Z"

ORDER = {
    "order_id": "order-local",
    "customer_id": "customer-local",
    "email": "customer@example.com",
}
LINES = [{"sku": "book", "quantity": 2, "unit_price_cents": 1200}]


def generate(service, event, **options):
    """An event as `sam local generate-event SERVICE EVENT` writes it."""
    command = ["sam", "local", "generate-event", service, event]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", value]
    return json.loads(subprocess.check_output(command, cwd=FOLDER))


def envelope(name, subject, partition_key=None):
    metadata = {"id": f"event-{name}", "time": TIME, "version": 1, "subject": subject}
    if partition_key:
        metadata["partitionkey"] = partition_key
    return metadata | {"correlationid": "request-local"}


def bus_event(name, source, detail_type, data, partition_key=None):
    """An event as a rule delivers it: EventBridge's form, with Surehand's envelope in `detail`.

    The scheduled event is the one event of EventBridge that the SAM CLI generates.
    """
    event = generate("cloudwatch", "scheduled-event", region=REGION, account_id=ACCOUNT)
    detail = {
        "metadata": envelope(name, f"order/{data['order_id']}", partition_key),
        "data": data,
    }
    return event | {
        "version": "0",
        "id": f"bus-{name}",
        "source": source,
        "detail-type": detail_type,
        "time": TIME,
        "resources": [],
        "detail": detail,
    }


def message(queue, body, **attributes):
    event = generate(
        "sqs",
        "receive-message",
        region=REGION,
        account_id=ACCOUNT,
        queue_name=queue,
        body="-",
    )
    # The SAM CLI would not escape the quotes of a body that is given as an option.
    text = json.dumps(body)
    record = event["Records"][0]
    record |= {"body": text, "md5OfBody": hashlib.md5(text.encode()).hexdigest()}
    record["attributes"] |= attributes
    return event


def change(*events):
    """A claim of the idempotency table whose events wait to be published."""
    update = generate("dynamodb", "update", region=REGION, account_id=ACCOUNT)
    insert = next(it for it in update["Records"] if it["eventName"] == "INSERT")
    waiting = [{"M": {"body": {"S": json.dumps(event)}}} for event in events]
    claim = {
        "id": {"S": "shop-place-order#local"},
        "status": {"S": "COMPLETED"},
        "expiration": {"N": "4102444800"},
        "outbox": {"L": waiting},
        "outbox_since": {"N": "1795255200000"},
        "outbox_shard": {"S": "0"},
    }
    insert["dynamodb"] |= {"Keys": {"id": claim["id"]}, "NewImage": claim}
    return {"Records": [insert]}


def main():
    placed = ORDER | {"lines": LINES, "total_cents": 2400}
    charged = {
        "order_id": ORDER["order_id"],
        "customer_id": ORDER["customer_id"],
        "amount_cents": 2400,
    }
    request = {
        "request_id": "request-local",
        "customer_id": ORDER["customer_id"],
        "email": ORDER["email"],
        "lines": LINES,
    }

    def order_placed(name):
        return bus_event(name, "shop.orders", "OrderPlaced", placed)

    def order_charged(name):
        key = ORDER["customer_id"]
        return bus_event(name, "shop.ledger", "OrderCharged", charged, key)

    events = {
        "place-order": request,
        "reserve-stock": message("shop-reserve-stock", order_placed("placed")),
        "notify-customer": message(
            "shop-notify-customer",
            bus_event("reserved", "shop.stock", "StockReserved", ORDER),
        ),
        "customer-ledger": message(
            "shop-customer-ledger.fifo",
            order_charged("charged"),
            MessageGroupId=ORDER["customer_id"],
            MessageDeduplicationId="event-charged",
            SequenceNumber="18849496460467696129",
        ),
        "audit": order_placed("audited"),
        # This request only asks what a redrive would do, and changes nothing.
        "redrive": {"queue": "audit"},
        "outbox-relay": change(order_placed("relayed"), order_charged("relayed-charge")),
        "outbox-sweep": generate(
            "cloudwatch", "scheduled-event", region=REGION, account_id=ACCOUNT
        ),
    }
    for name, event in events.items():
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(event, indent=2) + "\n")


if __name__ == "__main__":
    main()
