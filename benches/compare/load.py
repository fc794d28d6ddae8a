"""The measurements: each function puts load on one server and returns a dictionary of figures."""

import contextlib
import csv
import json
import re
import resource
import signal
import subprocess
import sys
import time

from servers import FORM, HERE

RATE = 200  # requests a second for GET /, in the probe
BUSY = 64  # clients at /token while the probe runs
STORM = 1000


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def per(cost, count):
    return cost / count if count else float("nan")


def run(argv, seconds):
    # The slowest responses come long after the load: 512 hashes on two cores take half a minute if memory is short.
    done = subprocess.run(list(map(str, argv)), check=True, capture_output=True, text=True, timeout=seconds + 150)
    sys.stderr.write(done.stderr)
    return done.stdout


def hey(server, clients, *until):
    # -t 0: the latency of a late login counts, too. hey waits for requests under way when the time is over.
    return ["hey", *until, "-c", clients, "-t", "0", "-o", "csv", "-m", "POST",
            "-T", "application/x-www-form-urlencoded", "-d", FORM, f"{server.base}/token"]


@contextlib.contextmanager
def metered(server, figures):
    """Adds the wall time, and the CPU time of the server and of the load tool."""
    def tool():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    wall, cpu, own = time.monotonic(), server.cpu(), tool()
    yield
    figures["wall"] = time.monotonic() - wall
    figures["server_cpu"] = server.cpu() - cpu
    figures["tool_cores"] = (tool() - own) / figures["wall"]


def logins(server, clients, seconds):
    figures = {}
    with metered(server, figures):
        rows = list(csv.DictReader(run(hey(server, clients, "-z", f"{seconds}s"), seconds).splitlines()))
    good = [float(row["response-time"]) for row in rows if row["status-code"] == "200"]
    refused = sum(row["status-code"] == "503" for row in rows)
    figures |= {
        "per_second": len(good) / figures["wall"],
        "cpu_ms": per(1000 * figures["server_cpu"], len(good)),
        "p50_ms": 1000 * quantile(good, 0.50),
        "p99_ms": 1000 * quantile(good, 0.99),
        "refused_per_second": refused / figures["wall"],
        "other": len(rows) - len(good) - refused,
    }
    return figures


def requests(server, path, seconds):
    argv = ["wrk", "-t", 1, "-c", 64, "-d", f"{seconds}s", "--timeout", "10s", "-s", HERE / "wrk.lua",
            "-H", f"Authorization: Bearer {server.token}", server.base + path]
    figures = {}
    with metered(server, figures):
        out = run(argv, seconds)
    count, micros, errors = map(int, re.search(r"^RESULT (\d+) (\d+) (\d+)$", out, re.M).groups())
    good = count - errors
    return figures | {"per_second": good / (micros / 1e6), "cpu_us": per(1e6 * figures["server_cpu"], good), "other": errors}


@contextlib.contextmanager
def process(argv, **pipes):
    """A client that runs next to the driver, and never longer than it."""
    child = subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, text=True, **pipes)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def probe(server, seconds, busy=False):
    argv = [sys.executable, HERE / "clients.py", "probe", server.port, seconds, RATE]
    figures = {}
    with contextlib.ExitStack() as stack:
        prober = stack.enter_context(process(argv, stdin=subprocess.PIPE))
        assert prober.stdout.readline() == "ready\n", "the probe did not begin"
        if busy:
            # Longer than the probe can take; at SIGINT hey waits for requests under way and reports.
            loader = stack.enter_context(process(hey(server, BUSY, "-z", f"{seconds + 30}s")))
            time.sleep(1)  # fills the queues first
        begun = time.monotonic()
        out, _ = prober.communicate("\n", timeout=seconds + 60)
        took = time.monotonic() - begun
        if busy:
            loader.send_signal(signal.SIGINT)
            rows = list(csv.DictReader(loader.communicate(timeout=150)[0].splitlines()))
            # When the last login ended: if that was before the probe ended, the probe ran partly without load.
            last = max((float(row["offset"]) + float(row["response-time"]) for row in rows), default=0)
            figures["busy_all_along"] = last >= took
            figures["busy_logins"] = sum(row["status-code"] == "200" for row in rows)
    answers = json.loads(out)
    latencies = answers["latencies"]
    return figures | {"p50_ms": 1000 * quantile(latencies, 0.50), "p99_ms": 1000 * quantile(latencies, 0.99),
                      "other": answers["errors"]}


def storm(server, seconds, addresses):
    argv = [sys.executable, HERE / "clients.py", "storm", server.port, seconds, STORM, addresses]
    figures = {}
    with metered(server, figures):
        figures |= json.loads(run(argv, seconds))
    figures["good_per_second"] = figures["good"] / seconds
    figures["refused_per_second"] = figures["refused"] / seconds
    return figures


def warm(server):
    """Warms pools, pages and code paths, for which a first request pays, in both of uvicorn's workers."""
    run(hey(server, 4, "-n", 16), 20)
