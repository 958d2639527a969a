"""Runs every function of the shop in Lambda's container: `sam local invoke`, then `sam local start-lambda`.

    "$(cargo run -q -- tools)/bin/python" infra/local/check.py

Each is given its event of tests/data/events/local. The functions work on a stack of their own on the
emulator, which listens where containers reach it, and nowhere else. Afterwards must have happened what the
events ask for, and once, although each was handled twice.

Docker is what it takes. Where there is none, and this is root on a Debian, Debian's is installed and run for
as long as this takes. Elsewhere this says so, and exits with 77.
"""

import contextlib
import ipaddress
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3
from botocore.config import Config

ROOT = pathlib.Path(__file__).parents[2]
EVENTS = ROOT / "tests/data/events/local"
RUN = "sam-local"
STATE = ROOT / ".surehand" / RUN
PACKAGES = ["docker.io", "busybox-static"]
# What the SAM CLI calls its containers by.
CONTAINERS = "label=sam.cli.container.type=lambda"

# How long, in seconds, a command may take, and how long its effects may take.
PATIENCE = 120
REACTION = 30


class Skipped(Exception):
    """The check cannot run here; the text says why."""


def run(*command, **options):
    """Runs a command, and returns what it prints."""
    options = {"timeout": PATIENCE, "stdout": subprocess.PIPE, "text": True} | options
    done = subprocess.run([str(word) for word in command], check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: exit {done.returncode}\n{done.stderr or ''}")
    return done.stdout


def until(what, is_done, patience=REACTION):
    """Waits until something is true, and returns it."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if found := is_done():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {patience} s")


@contextlib.contextmanager
def process(*command, how_to_end=signal.SIGINT, **options):
    """A process that ends with the block."""
    child = subprocess.Popen([str(word) for word in command], **options)
    try:
        yield child
    finally:
        child.send_signal(how_to_end)
        try:
            child.wait(REACTION)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def has_docker():
    found = shutil.which("docker") and subprocess.run(
        ["docker", "info"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=PATIENCE,
    )
    return bool(found) and found.returncode == 0


@contextlib.contextmanager
def docker():
    """The running Docker, or one that is started here and leaves only its package behind."""
    if has_docker():
        yield
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Skipped("there is no Docker, and installing it needs root on a Debian system")
    if not all(map(shutil.which, ["dockerd", "docker", "busybox"])):
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
        quiet = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.PIPE,
            "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        }
        try:
            run("apt-get", "update", "-q", **quiet)
            run(*install, *PACKAGES, **quiet)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            raise Skipped(f"{' and '.join(PACKAGES)} cannot be installed: {error}") from error
    if has_docker():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="surehand-docker-") as name:
        folder = pathlib.Path(name)
        socket = f"unix://{folder}/docker.sock"
        command = ["dockerd", "--host", socket, "--pidfile", folder / "pid"]
        command += ["--data-root", folder / "data", "--exec-root", folder / "exec"]
        log = folder / "log"
        with log.open("w") as output:
            options = {"stdout": output, "stderr": output, "how_to_end": signal.SIGTERM}
            with process(*command, **options) as daemon:
                os.environ["DOCKER_HOST"] = socket
                try:
                    until("dockerd", lambda: daemon.poll() is not None or has_docker())
                    if daemon.poll() is not None:
                        last = log.read_text().splitlines()[-3:]
                        raise Skipped("dockerd does not run here: " + "\n".join(last))
                    yield
                finally:
                    del os.environ["DOCKER_HOST"]


@contextlib.contextmanager
def containers_and_images():
    """Removes the containers that the block made; older ones stay."""

    def listed():
        containers = run("docker", "ps", "-aq", "--filter", CONTAINERS).split()
        repositories = run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split()
        return set(containers), set(repositories)

    containers, images = listed()
    try:
        yield
    finally:
        now_containers, now_images = listed()
        for container in now_containers - containers:
            run("docker", "rm", "-f", container)
        for image in now_images - images:
            run("docker", "rmi", "-f", image)


@contextlib.contextmanager
def application(host):
    """The shop on an emulator that listens on `host` alone; the value is what `surehand dev` announces."""
    build = ["cargo", "build", "--locked", "--bin=surehand", "--message-format=json"]
    messages = map(json.loads, run(*build, cwd=ROOT, timeout=1200).splitlines())
    surehand = next(it["executable"] for it in messages if it.get("executable"))
    announced = STATE / "stack.json"
    announced.unlink(missing_ok=True)
    STATE.mkdir(parents=True, exist_ok=True)
    command = [surehand, "dev", "--run", RUN, "--host", host, "--parameter", "FunctionTimeout=10"]
    with (STATE / "dev.log").open("w") as output:
        with process(*command, cwd=ROOT, stdout=output, stderr=output) as dev:
            until("the stack", lambda: dev.poll() is not None or announced.exists(), 1200)
            if dev.poll() is not None:
                raise RuntimeError((STATE / "dev.log").read_text())
            yield json.loads(announced.read_text())


class Shop:
    """The deployed shop, seen by its owner. No function in it runs unless it is invoked."""

    def __init__(self, stack):
        self.endpoint = stack["endpoint"]
        self.outputs = stack["outputs"]
        table = self.client("dynamodb", boto3.resource).Table
        self.items = table(self.outputs["ShopTableName"])
        self.claims = table(self.outputs["IdempotencyTableName"])
        self.sqs = self.client("sqs")
        functions = self.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        self.client("events").disable_rule(Name=f"{stack['name']}-outbox-sweep")
        self.items.put_item(Item={"pk": "STOCK#book", "sk": "STOCK", "sku": "book", "available": 10})

    def client(self, service, kind=boto3.client):
        return kind(service, endpoint_url=self.endpoint, region_name="us-east-1")

    def item(self, pk, sk):
        return self.items.get_item(Key={"pk": pk, "sk": sk}).get("Item")

    def waiting(self):
        """The items whose events wait to be published."""
        items = self.claims.scan(ConsistentRead=True)["Items"]
        return [item for item in items if "outbox_since" in item]

    def age(self):
        """Makes the waiting events old enough to be swept."""
        for item in self.waiting():
            self.claims.update_item(
                Key={"id": item["id"]},
                UpdateExpression="SET outbox_since = outbox_since - :hour",
                ExpressionAttributeValues={":hour": 3_600_000},
            )

    def depth(self, output):
        attribute = "ApproximateNumberOfMessages"
        url = self.outputs[output]
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[attribute])
        return int(answer["Attributes"][attribute])

    def mails(self):
        key = f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/"
        page = urllib.request.Request(f"{self.endpoint}/_ministack/ses/messages")
        page.add_header("Authorization", key)
        with urllib.request.urlopen(page) as page:
            accounts = json.load(page)["messages"].values()
        return [mail for mails in accounts for mail in mails if "order-local" in mail["BodyText"]]

    def check(self, order_id):
        """Checks that all effects of the events have happened, each once."""
        assert self.item(f"ORDER#{order_id}", "ORDER"), "the order is not stored"
        assert self.item("ORDER#order-local", "RESERVATION"), "nothing is reserved"
        available = self.item("STOCK#book", "STOCK")["available"]
        assert available == 8, f"{available} books are left of 10, of which 2 are reserved"
        balance = self.item("CUSTOMER#customer-local", "BALANCE")
        assert (balance["balance_cents"], balance["entries"]) == (2400, 1), balance
        assert len(self.mails()) == 1, self.mails()
        assert self.item(audited("event-audited"), "EVENT"), "the event is not audited"
        # The emulator runs audit when the relay's event is on the bus.
        relayed = lambda: self.item(audited("event-relayed"), "EVENT")
        until("the relayed event", relayed)
        # The orders come from the sweep and from the relay.
        until("orders", lambda: self.depth("ReserveStockQueueUrl") >= 2)
        until("charges", lambda: self.depth("CustomerLedgerQueueUrl") >= 2)


def audited(event_id):
    """The key of an audited OrderPlaced."""
    return f'AUDIT#["shop.orders","OrderPlaced","{event_id}"]'


def invoke_all(shop, functions, invoke):
    """Invokes each function with its event; returns the id of the order that was placed."""
    # place-order is first, because outbox-sweep publishes the events that it leaves.
    names = sorted(functions, key=lambda name: (name != "place-order", name != "outbox-sweep"))
    replies = {}
    for name in names:
        event = EVENTS / f"{name}.json"
        assert event.exists(), f"{name} has no event to try it with: add one to events.py"
        if name == "outbox-sweep":
            shop.age()
        started = time.monotonic()
        reply = replies[name] = invoke(functions[name], event)
        print(f"  {name}: {json.dumps(reply)} ({time.monotonic() - started:.1f} s)", flush=True)
        assert not (isinstance(reply, dict) and "errorType" in reply), f"{name} failed"
        if name == "outbox-sweep":
            assert reply["failed"] == 0 and not shop.waiting(), shop.waiting()
        if name == "redrive":
            assert reply == {"seen": 0, "selected": 0, "held": {}, "complete": True}, reply
        if isinstance(reply, dict) and "batchItemFailures" in reply:
            assert reply["batchItemFailures"] == [], f"{name} returned its record"
    batches = [name for name, reply in replies.items() if reply == {"batchItemFailures": []}]
    assert len(batches) >= 4, f"only {batches} answered for their records"
    assert replies["place-order"]["total_cents"] == 2400, replies["place-order"]
    return replies["place-order"]["order_id"]


def bridge_address():
    """The host's address in Docker's default network: its gateway."""
    bridge = ["docker", "network", "inspect", "bridge"]
    config = json.loads(run(*bridge, "--format", "{{json (index .IPAM.Config 0)}}"))
    # A daemon that has just made the network names the subnet alone, of which it takes the first address.
    return config.get("Gateway") or str(ipaddress.ip_network(config["Subnet"])[1])


def check():
    sam = pathlib.Path(sys.executable).parent / "sam"
    arguments = ["--template", STATE / "template.json", "--env-vars", STATE / "env.json"]
    arguments += ["--skip-pull-image", "--region", "us-east-1"]
    with application(bridge_address()) as stack:
        # The SAM CLI looks up its account, and the emulator answers nobody without its key.
        os.environ["AWS_ENDPOINT_URL"] = stack["endpoint"]
        os.environ["AWS_ACCESS_KEY_ID"] = stack["key"]["id"]
        os.environ["AWS_SECRET_ACCESS_KEY"] = stack["key"]["secret"]
        shop = Shop(stack)
        functions = {it["binary"]: it["logical_id"] for it in stack["functions"]}
        executables = (STATE / "packages").glob("*.bootstrap")
        print(run(ROOT / "infra/local/base-image.sh", *sorted(executables)), end="", flush=True)

        def by_command(function, event):
            command = [sam, "local", "invoke", function, *arguments, "--event", event]
            # The reply is the last line; the function's log lines are not always there.
            said = run(*command, stderr=subprocess.PIPE, cwd=STATE).strip()
            return json.loads(said.splitlines()[-1])

        print("sam local invoke", flush=True)
        order_id = invoke_all(shop, functions, by_command)
        shop.check(order_id)

        port = "3001"
        command = [sam, "local", "start-lambda", *arguments, "--port", port]
        with (STATE / "start-lambda.log").open("w") as log:
            with process(*command, cwd=STATE, stdout=log, stderr=log):
                config = Config(retries={"max_attempts": 0}, read_timeout=PATIENCE)
                endpoint = f"http://127.0.0.1:{port}"
                client = boto3.client("lambda", endpoint_url=endpoint, config=config)

                def is_up():
                    try:
                        urllib.request.urlopen(endpoint)
                    except urllib.error.HTTPError:
                        return True
                    except OSError:
                        return False
                    return True

                until("sam local start-lambda", is_up)

                def by_endpoint(function, event):
                    answer = client.invoke(FunctionName=function, Payload=event.read_bytes())
                    return json.load(answer["Payload"])

                print("sam local start-lambda", flush=True)
                again = invoke_all(shop, functions, by_endpoint)
        assert again == order_id, f"{order_id} was placed again, as {again}"
        shop.check(order_id)


def main():
    # On SIGTERM too, every process that was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in list(os.environ):
        if name.startswith(("AWS_", "SAM_")):
            del os.environ[name]
    os.environ |= {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
        "SAM_CLI_TELEMETRY": "0",
    }
    try:
        with docker(), containers_and_images():
            check()
    except Skipped as skipped:
        print(f"skipped: {skipped}")
        sys.exit(77)
    print("every function ran twice, and every effect happened once")


if __name__ == "__main__":
    main()
