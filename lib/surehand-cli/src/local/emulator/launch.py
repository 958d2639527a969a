"""Runs the emulator behind a door, and ends it, and the functions it started, when `surehand` is gone.

The emulator takes anybody for the account's owner. Here it answers only requests that carry an access key of
this run: the owner's, which `surehand` made, or one that the emulator gave to a function.

CloudFormation applies SAM's transform to nested templates too, which the emulator is taught here. It is also
taught to write into a function's log why an invocation failed: as Lambda does where the function did not end, and
also where it answered with an error and has not said so itself.

Standard input is a pipe whose other end `surehand` holds and never writes to. The kernel closes that end
however `surehand` ends, also by SIGKILL, so that no emulator is ever left behind.
"""

import hashlib
import hmac
import http.server
import ipaddress
import json
import os
import re
import runpy
import secrets
import signal
import sys
import threading
import time
import urllib.parse

OWNER = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"].encode()

# The access keys that this run has made. None can be guessed.
KEYS = {OWNER}

REFUSED = (
    "this is the local cloud of a `surehand dev`, which answers only requests with an access key of its run,"
    " no web pages, and no other host's name"
)


def end_with_parent():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(3)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def transform_nested_templates():
    # These have taken what they need of `engine` once they are imported, and so the change is for
    # nested stacks alone, which take it when they are deployed.
    from ministack.services.cloudformation import changesets, engine, handlers  # noqa: F401

    parse = engine._parse_template
    engine._parse_template = lambda text: engine._apply_transforms(parse(text))


def is_own_host(host):
    """Whether a name is this machine's. A web page's own name may lead here as well, by DNS rebinding."""
    name = re.sub(r":\d*$", "", host).lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        bound = ipaddress.ip_address(os.environ["BIND_HOST"])
    except ValueError:
        return False
    # An address is no name that leads elsewhere.
    return address.is_loopback or bound.is_unspecified or address == bound


def credentials(authorizations, query):
    """Every access key that a request names, wherever the emulator's services may look for one."""
    for authorization in authorizations:
        yield from re.findall(r"Credential=([^/]*)/", authorization)
        yield from re.findall(r"^AWS ([^:]*):", authorization)
    for name, value in query:
        if name.lower() == "x-amz-credential":
            yield value.partition("/")[0]
        elif name == "AWSAccessKeyId":
            yield value


def is_admitted(scope):
    """Whether a request comes from somebody who has a key of this run, and not from a web page."""
    from ministack.core.router import extract_access_key_id

    values = {}
    for name, value in scope["headers"]:
        values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    hosts = values.get("host", [])
    if "origin" in values or len(hosts) != 1 or not is_own_host(hosts[0]):
        return False
    authorizations = values.get("authorization", [])
    text = scope.get("query_string", b"").decode("latin-1")
    query = urllib.parse.parse_qsl(text, keep_blank_values=True)
    named = set(credentials(authorizations, query))
    # What the emulator itself takes for the key must be one, and so must whatever else looks like one.
    headers = {"authorization": ", ".join(authorizations)}
    taken = extract_access_key_id(headers, urllib.parse.parse_qs(text, keep_blank_values=True))
    return taken in KEYS and named <= KEYS


def behind_the_door(app):
    async def door(scope, receive, send):
        if scope["type"] == "lifespan" or is_admitted(scope):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = json.dumps({"__type": "AccessDeniedException", "message": REFUSED}).encode()
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return door


def close_the_door():
    import ministack.app
    from ministack.core import lambda_runtime
    from ministack.services import iam, lambda_svc, sts

    ministack.app.app = behind_the_door(ministack.app.app)

    def recorded(make):
        def made():
            key = make()
            KEYS.add(key)
            return key

        return made

    iam._gen_access_key_id = recorded(iam._gen_access_key_id)
    sts._gen_session_access_key = recorded(sts._gen_session_access_key)

    def private(text):
        return hmac.new(SECRET, text.encode(), hashlib.sha256).hexdigest()

    execution_credentials = lambda_runtime.execution_credentials

    def of_function(config):
        # The emulator makes a function's keys from its name, so that everybody knows them.
        known = execution_credentials(config)
        session = dict(sts._sessions[known["AWS_ACCESS_KEY_ID"]])
        mine = {name: private(value) for name, value in known.items()}
        mine["AWS_ACCESS_KEY_ID"] = "ASIA" + mine["AWS_ACCESS_KEY_ID"][:32].upper()
        session["SecretAccessKey"] = mine["AWS_SECRET_ACCESS_KEY"]
        session["SessionToken"] = mine["AWS_SESSION_TOKEN"]
        sts.register_session(mine["AWS_ACCESS_KEY_ID"], session)
        KEYS.add(mine["AWS_ACCESS_KEY_ID"])
        return mine

    lambda_runtime.execution_credentials = of_function
    lambda_svc.execution_credentials = of_function


def close_the_runtime_api():
    """A process takes its events from a port that has no credentials: its path is the secret instead."""
    from ministack.services import lambda_svc

    path = secrets.token_urlsafe()
    environment = lambda_svc._provided_worker_env

    def with_path(*arguments):
        variables = environment(*arguments)
        # With its scheme, since Rust's runtime reads it as a URL, which has no path without one.
        variables["AWS_LAMBDA_RUNTIME_API"] = f"http://{variables['AWS_LAMBDA_RUNTIME_API']}/{path}"
        return variables

    lambda_svc._provided_worker_env = with_path
    handler = http.server.BaseHTTPRequestHandler
    parse_request = handler.parse_request

    def parse_admitted(self):
        if not parse_request(self):
            return False
        if self.path.startswith(f"/{path}/"):
            return True
        self.close_connection = True
        self.send_error(403)
        return False

    handler.parse_request = parse_admitted


def say_what_failed():
    """Writes a line for a failed invocation that is not in the function's own log, in the form of Lambda's."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    worker = lambda_runtime.ProvidedWorker
    execute = lambda_svc._execute_function_provided_warm
    teardown = worker._teardown
    # How the last process of a worker ended and what it had written, in the thread that invokes it.
    last = threading.local()

    def noted(self):
        if self._proc is not None:
            last.status = self._proc.poll()
        teardown(self)

    def held_back(self):
        # What a process has written before it ended belongs into the log, not into the error.
        last.written = self._drain_stderr_bounded(first_line_wait=0.1)
        return ""

    def executed(func, event, request_id):
        last.status, last.written = None, ""
        result = execute(func, event, request_id)
        body = result.get("body") if result.get("error") else None
        kind = str(body.get("errorType", "")) if isinstance(body, dict) else ""
        written = last.written or result.get("log", "")
        is_answer = kind == "Runtime.HandlerError" or not kind.startswith(("Runtime.", "Sandbox."))
        # What the library answers with an error, it has logged.
        if kind and not (is_answer and '"invocation failed"' in written):
            reason = str(body.get("errorMessage", "")).replace("\n", " ")
            if is_answer:
                reason = f"the invocation failed: {reason}"
            elif kind != "Sandbox.Timedout" and last.status is not None:
                when = "before it took an event" if kind == "Runtime.Unknown" else "before it answered"
                reason = f"the process ended with {ending(last.status)}, {when}{last_words(written)}"
            line = f"RequestId: {request_id} Error: {reason} ({kind})"
            result["log"] = "\n".join(filter(None, [written, line]))
        return result

    worker._teardown = noted
    worker._init_log_suffix = held_back
    lambda_svc._execute_function_provided_warm = executed


def ending(status):
    """How a process ended, by its exit status."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def last_words(written):
    """What a process wrote last, unless that is a line of its log, which is shown anyway."""
    lines = [line.strip() for line in written.splitlines() if line.strip()]
    # Rust says where it panicked, and why in the next line; then how to learn more, which here is no help.
    for at, line in reversed(list(enumerate(lines[:-1]))):
        panic = re.search(r" panicked at (\S+):$", line)
        if panic:
            return f": panicked at {panic[1]}: {lines[at + 1]}"
    if not lines or lines[-1].startswith("{"):
        return ""
    return f": {lines[-1]}"


# What the emulator writes is for its owner alone.
os.umask(0o077)
threading.Thread(target=end_with_parent, daemon=True).start()
transform_nested_templates()
close_the_door()
close_the_runtime_api()
say_what_failed()
sys.argv = ["ministack"]
runpy.run_module("ministack", run_name="__main__")
