"""The command `surehand dlq` on an SQS that moves messages as AWS does, on this machine alone.

    cargo build --release
    "$(cargo run -q -- tools --sqs | head -1)/bin/python" tests/dead_letters.py speed [MESSAGES]

`speed` redrives many messages by `apply`, by `move` and by the loop that people write, and compares.
"""

import collections
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
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

    def cpu(self):
        """The processor time that it has used, in seconds."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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
        """Dead letters as a function parks them, each with its own event."""
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


Run = collections.namedtuple("Run", "report seconds cpu memory screen")


def surehand(sqs, folder, *arguments):
    """Runs the command as at a terminal: its JSON, its seconds and those of the processor, the most memory it had in
    MB, and what was on the screen at last."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment |= {
        "AWS_ENDPOINT_URL": sqs.endpoint, "AWS_REGION": "us-east-1", "TERM": "xterm-256color",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 120))
    started = time.monotonic()
    process = subprocess.Popen(
        [ROOT / "target/release/surehand", "dlq", "--json", *arguments],
        env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=terminal, text=True,
    )
    os.close(terminal)
    shown = collections.deque(maxlen=50)

    def watch():
        try:
            while words := os.read(screen, 65536):
                shown.append(words.decode(errors="replace"))
        except OSError:
            pass  # The other end is closed.

    reader = threading.Thread(target=watch)
    reader.start()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    reader.join()
    os.close(screen)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", "".join(shown)))
    if process.returncode != 0:
        sys.exit(f"surehand dlq {' '.join(arguments)}: {process.returncode}\n{output}{lines}")
    bars = [line.strip() for line in lines if " left" in line and "/s" in line]
    return Run(
        json.loads(output.splitlines()[-1]), seconds, usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024, bars[-1] if bars else "",
    )


def naive(sqs, letters, queue):
    """The usual script: receive, send, delete, one after the other."""
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
    """Letters a second, each way on queues of its own, as ratios; the memory, and whether the rate is kept."""
    with Sqs() as sqs, tempfile.TemporaryDirectory() as folder:
        rates = {}

        def prepared(name, count):
            queue, letters, arn = sqs.queues(name)
            sqs.fill(letters, arn, count)
            print(f"{name}: {count} letters", flush=True)
            return queue, letters

        some = max(count // 20, 200)
        queue, letters = prepared("loop", some)
        started = time.monotonic()
        naive(sqs, letters, queue)
        rates["loop"] = some / (time.monotonic() - started)

        queue, letters = prepared("move", count)
        run = surehand(sqs, folder, "move", "--queue", letters, "--to", queue, "--yes")
        assert run.report["moved"] == count, run
        rates["move"] = count / run.seconds

        for rate, some in (20, 200), (200, 2000):
            name = f"rate-{rate}"
            queue, letters = prepared(name, some)
            surehand(sqs, folder, "plan", "--queue", letters, "--out", name)
            run = surehand(sqs, folder, "apply", name, "--yes", "--no-ramp", "--rate", str(rate))
            assert run.report["redriven"] == some, run
            print(f"--rate {rate}: {some / run.seconds:.1f} letters a second, start and end included")

        queue, letters = prepared("apply", count)
        run = surehand(sqs, folder, "plan", "--queue", letters, "--out", "all")
        print(f"plan: {count / run.seconds:.0f} letters a second, {run.memory:.0f} MB", flush=True)
        before = sqs.cpu()
        run = surehand(sqs, folder, "apply", "all", "--yes", "--no-ramp")
        theirs = sqs.cpu() - before
        assert run.report["redriven"] == count, run
        assert sqs.depth(queue) == count and sqs.depth(letters) == 0
        rates["apply"] = count / run.seconds
        assert run.screen, "the command showed no progress"
        print(
            f"apply: {run.seconds:.1f} s; of the processor {run.cpu:.1f} s its own and {theirs:.1f} s SQS's; "
            f"{run.memory:.0f} MB at most"
        )
        print(f"at last on the screen: {run.screen}")
        for name, rate in rates.items():
            print(f"{name}: {rate:.0f} letters a second, {rate / rates['loop']:.2f} of the loop's")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["speed", *count]:
            speed(int(count[0]) if count else 100_000)
        case _:
            sys.exit(__doc__)
