"""Runs the emulator and ends it, and the functions it started, when `surehand` is gone.

CloudFormation applies SAM's transform to nested templates too, which the emulator is taught here.

Standard input is a pipe whose other end `surehand` holds and never writes to. The kernel closes that end
however `surehand` ends, also by SIGKILL, so that no emulator is ever left behind.
"""

import os
import runpy
import signal
import sys
import threading
import time


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


threading.Thread(target=end_with_parent, daemon=True).start()
transform_nested_templates()
sys.argv = ["ministack"]
runpy.run_module("ministack", run_name="__main__")
