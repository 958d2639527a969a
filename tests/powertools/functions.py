"""Functions on Powertools for AWS Lambda that share a table with Surehand.

A test calls them by lines of JSON: {"function": …, "event": …, "remaining_ms": …}. A function that
runs says {"running": true} and does what the next line says, {"return": …} or {"raise": …}, so
that others can come between. Then comes {"returned": …} or {"raised": …}.
"""

import json
import sys
import warnings

from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent,
    idempotent_function,
)

# Without a context they warn, on standard error, that a lease has no end. This is one of the cases.
warnings.simplefilter("ignore")


def table():
    return DynamoDBPersistenceLayer(table_name="idempotency")


def act():
    say({"running": True})
    step = json.loads(sys.stdin.readline())
    if "raise" in step:
        raise RuntimeError(step["raise"])
    return step["return"]


@idempotent(persistence_store=table(), config=IdempotencyConfig(event_key_jmespath="request_id"))
def place_order(event, context):
    return act()


@idempotent(
    persistence_store=table(),
    config=IdempotencyConfig(event_key_jmespath="request_id", payload_validation_jmespath="@"),
)
def place_order_validated(event, context):
    return act()


@idempotent(
    persistence_store=table(),
    config=IdempotencyConfig(event_key_jmespath="request_id"),
    key_prefix="orders",
)
def place_order_prefixed(event, context):
    return act()


@idempotent(persistence_store=table(), config=IdempotencyConfig(event_key_jmespath="key"))
def place_order_keyed(event, context):
    return act()


@idempotent(
    persistence_store=table(), config=IdempotencyConfig(event_key_jmespath="[customer, lines[0].sku, number]")
)
def place_order_composed(event, context):
    return act()


by_message = IdempotencyConfig(event_key_jmespath="powertools_json(body).detail.metadata.id")


@idempotent_function(data_keyword_argument="record", persistence_store=table(), config=by_message)
def reserve_stock(record):
    return act()


def handle_batch(event, context):
    by_message.register_lambda_context(context)
    for record in event["Records"]:
        reserve_stock(record=record)


class Context:
    """The part of Lambda's context that idempotency uses."""

    def __init__(self, remaining_ms):
        self.remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self):
        return self.remaining_ms


def say(message):
    print(json.dumps(message), flush=True)


def serve():
    while line := sys.stdin.readline():
        call = json.loads(line)
        remaining = call["remaining_ms"]
        context = Context(remaining) if remaining is not None else None
        try:
            say({"returned": globals()[call["function"]](call["event"], context)})
        except Exception as error:
            say({"raised": type(error).__name__})
