"""Runs the emulator and ends it, and the functions it started, when `surehand` is gone.

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


threading.Thread(target=end_with_parent, daemon=True).start()
sys.argv = ["ministack"]
runpy.run_module("ministack", run_name="__main__")
