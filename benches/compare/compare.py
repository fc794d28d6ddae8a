"""The driver: runs rounds of phases, with all contenders in turn, and prints one table. Started by `run`."""

import argparse
import collections
import json
import os
import shlex
import signal
import sys
import time

import load
import report
import servers

# Seconds of load for each measurement.
QUICK = {"login1": 3, "login16": 3, "login64": 4, "login512": 4, "requests": 2, "probe": 4, "storm": 8}
FULL = {"login1": 10, "login16": 10, "login64": 10, "login512": 20, "requests": 5, "probe": 15, "storm": 20}


def options():
    ask = argparse.ArgumentParser(prog="benches/compare/run", description=__doc__)
    ask.add_argument("--quick", action="store_true", help="one short round, about two minutes")
    ask.add_argument("--rounds", type=int, help="default: 1 with --quick, else 3")
    ask.add_argument("--record", action="store_true", help="write RESULTS.md")
    ask.add_argument("--crate", action="append", metavar="NAME[=CARGO FLAGS]",
                     help="a build of the example server, such as 'redis=--features redis'; may be repeated. "
                          "Default: the default features, and those without `simd`")
    ask.add_argument("--extra", action="append", default=[], metavar="NAME=COMMAND",
                     help="one more server; ADDR and JWT_SECRET are set, {host} and {port} filled in")
    ask.add_argument("--no-fastapi", action="store_true")
    ask.add_argument("--fastapi-threads", action="store_true", help="also FastAPI with a plain `def` handler")
    ask.add_argument("--addresses", type=int, default=1, help="how many loopback addresses the 1,000 clients come from")
    ask.add_argument("--only", help="phases, with commas: login, login512, requests, probe, storm")
    return ask.parse_args()


def contenders(asked):
    found = [servers.handwritten()]
    if not asked.no_fastapi:
        found.append(servers.fastapi())
    if asked.fastapi_threads:
        found.append(servers.fastapi("FastAPI, def", "def"))
    builds = asked.crate
    if builds is None:
        builds = ["crate", "crate-simd=--no-default-features --features aws_lc_rs,tracing"]
        if not servers.example_exists():
            print("compare: examples/server is not there: this crate is left out", file=sys.stderr)
            builds = []
    for build in builds:
        name, _, flags = build.partition("=")
        found.append(servers.crate(name, shlex.split(flags)))
    for extra in asked.extra:
        name, _, command = extra.partition("=")
        found.append(servers.Contender(name, f"`{command}`", shlex.split(command)))
    return found


def login_phase(server, seconds, add, _):
    for clients in (1, 16, 64):
        add(f"login{clients}", load.logins(server, clients, seconds[f"login{clients}"]))


def login512_phase(server, seconds, add, _):
    figures = load.logins(server, 512, seconds["login512"])
    add("login512", figures | {"peak_mib": server.peak_mib()})


def requests_phase(server, seconds, add, _):
    add("guarded", load.requests(server, "/users/me", seconds["requests"]))
    add("public", load.requests(server, "/", seconds["requests"]))


def probe_phase(server, seconds, add, _):
    add("idle", load.probe(server, seconds["probe"]))
    add("busy", load.probe(server, seconds["probe"], busy=True))


def storm_phase(server, seconds, add, asked):
    figures = load.storm(server, seconds["storm"], asked.addresses)
    add("storm", figures | {"peak_mib": server.peak_mib()})


PHASES = {"login": login_phase, "login512": login512_phase, "requests": requests_phase, "probe": probe_phase,
          "storm": storm_phase}


def measure(field, asked, seconds, count):
    """Each phase starts a fresh server for each contender, so that no memory or backlog reaches the next one. The
    contenders take turns within a phase, and the first one changes each round, so a slow minute hits all of them."""
    rounds = collections.defaultdict(list)
    chosen = asked.only.split(",") if asked.only else list(PHASES)
    for turn in range(count):
        for phase in chosen:
            shift = turn % len(field)
            for contender in field[shift:] + field[:shift]:
                def add(what, figures):
                    rounds[contender.name, what].append(figures)
                    shown = " ".join(f"{k}={report.number(v)}" for k, v in figures.items())
                    print(f"round {turn + 1}, {contender.name}, {what}: {shown}", file=sys.stderr)

                with servers.Server(contender) as server:
                    load.warm(server)
                    PHASES[phase](server, seconds, add, asked)
    return rounds


def main():
    asked = options()
    seconds = QUICK if asked.quick else FULL
    count = asked.rounds or (1 if asked.quick else 3)
    # A signal ends the run like an exception, so that every `with` block ends its server.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    field = contenders(asked)
    names = [contender.name for contender in field]
    assert len(set(names)) == len(names), f"two contenders of one name: {names}"
    # Ends a run that hangs in spite of every limit.
    signal.alarm(int(60 + count * len(field) * (240 if asked.quick else 480)))
    busy = os.getloadavg()[0]
    begun = time.monotonic()
    rounds = measure(field, asked, seconds, count)
    minutes = (time.monotonic() - begun) / 60

    text = "\n".join([
        report.table(names, report.medians(rounds)),
        "",
        f"Argon2id, m=19456 KiB, t=2, p=1. Medians of {count} round{'s' * (count > 1)}; in brackets the ratio to {names[0]}.",
        "A row that no contender has anything to say in is left out.",
        "",
        *(f"- {contender.name}: {contender.about}" for contender in field),
        *(f"- {line}" for line in report.machine(servers.ROOT)),
        f"- load average when it began: {busy:.2f}; the clients share the cores; {minutes:.1f} minutes",
        f"- the 1,000 clients come from {asked.addresses} address{'es' * (asked.addresses > 1)}",
        *(f"- odd: {note}" for note in report.odd(rounds)),
    ])
    print(text)
    raw = [{"contender": name, "phase": phase, "rounds": figures} for (name, phase), figures in rounds.items()]
    (servers.OUT / "last.json").write_text(json.dumps(raw, indent=1))
    if asked.record:
        command = shlex.join(["benches/compare/run", *sys.argv[1:]])
        (servers.HERE / "RESULTS.md").write_text(f"# What was measured\n\nBy `{command}`; README.md says what each row is.\n\n{text}\n")


if __name__ == "__main__":
    main()
