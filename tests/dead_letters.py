"""The command `surehand dlq` on an SQS that moves messages as AWS does, on this machine alone.

    cargo build --release
    "$(cargo run -q -- tools --sqs | head -1)/bin/python" tests/dead_letters.py speed [MESSAGES]

`speed` redrives many messages by `apply`, by `move` and by the loop that people write, and compares.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import boto3
import botocore.config

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH = 10


class Sqs:
    """One SQS on a free port; it ends with the block."""

    def __enter__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder = tempfile.mkdtemp(prefix="surehand-sqs-")
        self.endpoint = f"http://127.0.0.1:{port}"
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment |= {
            "SERVICES": "sqs",
            "GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "EAGER_SERVICE_LOADING": "0",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "FILESYSTEM_ROOT": self.folder,
            "TMPDIR": self.folder,
        }
        self.log = open(pathlib.Path(self.folder) / "sqs.log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "localstack.runtime.main"],
            env=environment, cwd=self.folder, stdout=self.log, stderr=self.log, start_new_session=True,
        )
        self.client = boto3.client(
            "sqs", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
            config=botocore.config.Config(retries={"max_attempts": 2}, max_pool_connections=16),
        )
        until = time.monotonic() + 90
        while True:
            try:
                self.client.list_queues()
                return self
            except Exception:
                if time.monotonic() > until or self.process.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(0.2)

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(10)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def queues(self, name):
        """A queue and its dead-letter queue: their URLs, and the first one's ARN."""
        letters = self.client.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
        arn = self.arn(letters)
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
        queue = self.client.create_queue(
            QueueName=name, Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "3600"}
        )["QueueUrl"]
        return queue, letters, self.arn(queue)

    def arn(self, url):
        answer = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]

    def depth(self, url):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def fill(self, url, source, count):
        """Dead letters as a function parks them, each with an event of its own."""
        note = {
            "kind": "rejected", "message": "no such sku", "chain": [], "handler": "reserve_stock",
            "function": "shop-reserve-stock", "request_id": "r", "attempts": 1,
            "last_failure": "2026-11-21T10:00:00Z", "source_queue": source, "redrive_count": 0,
        }
        attributes = {"SurehandFailure": {"DataType": "String", "StringValue": json.dumps(note)}}
        body = {"source": "shop.orders", "detail-type": "OrderPlaced", "detail": {}}

        def batch(first):
            entries = []
            for index in range(first, min(first + BATCH, count)):
                body["detail"] = {"metadata": {"id": f"event-{index}"}, "data": {"order_id": str(index)}}
                entries.append({"Id": str(index), "MessageBody": json.dumps(body), "MessageAttributes": attributes})
            answer = self.client.send_message_batch(QueueUrl=url, Entries=entries)
            assert not answer.get("Failed"), answer

        for first in range(0, count, BATCH):
            batch(first)


def surehand(sqs, profile, folder, *arguments):
    """Runs the command; returns its exit code, its JSON, its seconds, and the most memory it had, in MB."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= {
        "AWS_ENDPOINT_URL": sqs.endpoint, "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }
    started = time.monotonic()
    process = subprocess.Popen(
        [ROOT / "target" / profile / "surehand", "dlq", "--json", *arguments],
        env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    errors = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    seconds = time.monotonic() - started
    if process.returncode not in (0, 3, 4):
        sys.exit(f"surehand dlq {' '.join(arguments)}: {process.returncode}\n{output}{errors[0]}")
    result = json.loads(output.splitlines()[-1]) if output.strip() else None
    return process.returncode, result, seconds, usage.ru_maxrss / 1024


def naive(sqs, letters, queue):
    """What people write: receive, send, delete, one after the other."""
    while True:
        messages = sqs.client.receive_message(
            QueueUrl=letters, MaxNumberOfMessages=BATCH, MessageAttributeNames=["All"]
        ).get("Messages", [])
        if not messages:
            return
        for message in messages:
            sqs.client.send_message(
                QueueUrl=queue, MessageBody=message["Body"], MessageAttributes=message.get("MessageAttributes", {})
            )
            sqs.client.delete_message(QueueUrl=letters, ReceiptHandle=message["ReceiptHandle"])


def speed(count):
    """Messages a second, each way on queues of its own, as ratios; the memory, and whether the rate is kept."""
    with Sqs() as sqs, tempfile.TemporaryDirectory() as folder:
        results = {}

        def prepared(name, count):
            queue, letters, arn = sqs.queues(name)
            sqs.fill(letters, arn, count)
            print(f"{name}: {count} letters", flush=True)
            return queue, letters

        queue, letters = prepared("loop", count // 10)
        started = time.monotonic()
        naive(sqs, letters, queue)
        results["loop"] = (count // 10) / (time.monotonic() - started)

        queue, letters = prepared("move", count // 10)
        _, report, seconds, _ = surehand(sqs, "release", folder, "move", "--queue", letters, "--to", queue, "--yes")
        assert report["moved"] == count // 10, report
        results["move"] = (count // 10) / seconds

        queue, letters = prepared("rated", 200)
        surehand(sqs, "release", folder, "plan", "--queue", letters, "--out", "rated")
        _, report, seconds, _ = surehand(
            sqs, "release", folder, "apply", "rated", "--yes", "--no-ramp", "--rate", "20"
        )
        assert report["redriven"] == 200, report
        print(f"--rate 20: {200 / seconds:.1f} letters a second, process and reading included")

        queue, letters = prepared("apply", count)
        _, _, planned, memory = surehand(sqs, "release", folder, "plan", "--queue", letters, "--out", "all")
        print(f"plan: {count / planned:.0f} letters a second, {memory:.0f} MB", flush=True)
        _, report, seconds, memory = surehand(sqs, "release", folder, "apply", "all", "--yes", "--no-ramp")
        assert report["redriven"] == count, report
        assert sqs.depth(queue) == count and sqs.depth(letters) == 0
        results["apply"] = count / seconds
        for name, rate in results.items():
            print(f"{name}: {rate:.0f} letters a second, {rate / results['loop']:.2f} of the loop's")
        print(f"apply of {count} letters: {seconds:.0f} s, {memory:.0f} MB at most")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["speed", *count]:
            speed(int(count[0]) if count else 100_000)
        case _:
            sys.exit(__doc__)
