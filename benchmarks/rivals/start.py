"""The protocol of benchmarks/start.mjs, for rivals in Python."""

import json
import sys
import time

STARTED = time.perf_counter()


def ready():
    print(json.dumps({"firstResultMs": (time.perf_counter() - STARTED) * 1000}), flush=True)


def again(seconds):
    print(json.dumps({"againMs": seconds * 1000}), flush=True)


def idle(use_workers):
    use_workers()
    sys.stdin.read()
