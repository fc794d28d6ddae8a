"""The compared programs: how each is built, started, watched through /proc and stopped."""

import base64
import ctypes
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = ROOT / "target" / "compare"
VENV = OUT / "fastapi-venv"
TICK = os.sysconf("SC_CLK_TCK")
FORM = urllib.parse.urlencode({"grant_type": "password", "username": "alice", "password": "wonderland123"})
# HS256 needs 32 bytes. It protects only loopback, for minutes.
SECRET = "a secret for benches/compare only"


@dataclasses.dataclass
class Contender:
    """A program that serves GET /, POST /token and GET /users/me at a given address."""

    name: str
    about: str
    argv: list[str]  # {host} and {port} are filled in; ADDR is set as well
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    cwd: pathlib.Path = ROOT


def sh(*argv, **options):
    print("+", shlex.join(map(str, argv)), file=sys.stderr)
    subprocess.run([str(a) for a in argv], check=True, stdout=sys.stderr, **options)


def handwritten():
    target = OUT / "handwritten"
    sh("cargo", "build", "--release", "--locked", "--manifest-path", HERE / "handwritten/Cargo.toml",
       "--target-dir", target)
    return Contender("hand-written", "axum, Form, spawn_blocking, argon2, jsonwebtoken", [str(target / "release/handwritten")])


def fastapi(name="FastAPI", handler="async"):
    wanted = (HERE / "fastapi/requirements.txt").read_text()
    mark = VENV / "installed.txt"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(VENV, ignore_errors=True)
        sh(sys.executable, "-m", "venv", VENV)
        sh(VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", HERE / "fastapi/requirements.txt")
        mark.write_text(wanted)
    argv = [str(VENV / "bin/uvicorn"), "app:app", "--workers", "2", "--host", "{host}", "--port", "{port}",
            "--log-level", "warning"]
    how = "on the event loop, as in its tutorial" if handler == "async" else "in its pool of threads"
    return Contender(name, f"pwdlib {how}, PyJWT, uvicorn with two workers", argv, {"TOKEN_HANDLER": handler},
                     HERE / "fastapi")


def example_exists():
    return any((ROOT / "examples" / file).exists() for file in ("server.rs", "server/main.rs"))


def crate(name, flags):
    """This crate's example server, built with `flags`. Each build is copied, since the next one replaces it."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
    sh("cargo", "build", "--release", "--example", "server", *flags, cwd=ROOT)
    OUT.mkdir(parents=True, exist_ok=True)
    copy = OUT / f"server-{name}"
    shutil.copy2(target / "release/examples/server", copy)
    about = "this crate's example server, " + (shlex.join(flags) if flags else "default features")
    return Contender(name, about, [str(copy)])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    # PR_SET_PDEATHSIG: even a driver that is killed outright leaves no server behind.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Taken(Exception):
    """A connection took the port before the server did."""


class Server:
    """A running contender in its own process group. `with` always ends the group."""

    def __init__(self, contender):
        self.contender = contender

    def __enter__(self):
        for _ in range(4):
            try:
                return self.start()
            except Taken:
                pass
        return self.start()

    def start(self):
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        address = {"host": "127.0.0.1", "port": self.port}
        env = os.environ | {"JWT_SECRET": SECRET, "RUST_LOG": "warn", "ADDR": f"127.0.0.1:{self.port}"}
        OUT.mkdir(parents=True, exist_ok=True)
        self.log = open(OUT / f"{self.contender.name.replace('/', '_')}.log", "w")
        self.process = subprocess.Popen(
            [part.format(**address) for part in self.contender.argv], env=env | self.contender.env,
            cwd=self.contender.cwd, stdout=self.log, stderr=self.log, start_new_session=True, preexec_fn=die_with_parent)
        try:
            self.wait_until_up()
            self.check()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()

    def wait_until_up(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.ask("/")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        if "in use" in pathlib.Path(self.log.name).read_text():
            raise Taken()
        raise RuntimeError(f"{self.contender.name} does not serve; see {self.log.name}")

    def ask(self, path, form=None, headers={}):
        request = urllib.request.Request(self.base + path, form.encode() if form else None, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read()

    def check(self):
        """Comparing a program that does a different job would be useless."""
        status, body = self.ask("/token", FORM)
        assert status == 200, f"{self.contender.name}: POST /token answers {status} {body!r}"
        self.token = json.loads(body)["access_token"]
        head = json.loads(base64.urlsafe_b64decode(self.token.split(".")[0] + "=="))
        assert head["alg"] == "HS256", f"{self.contender.name}: the token is {head}"
        status, body = self.ask("/users/me", headers={"authorization": f"Bearer {self.token}"})
        me = json.loads(body) if status == 200 else {}
        assert me.get("username") == "alice", f"{self.contender.name}: GET /users/me answers {status} {body!r}"
        status, _ = self.ask("/users/me")
        assert status == 401, f"{self.contender.name}: GET /users/me without a token answers {status}"
        status, body = self.ask("/token", FORM + "4")
        assert status == 400, f"{self.contender.name}: a wrong password is answered {status} {body!r}"

    def tree(self):
        """The ids of the server's processes, with the CPU seconds that each has used, including ended children."""
        parents, used = {}, {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
                except OSError:
                    continue
                fields = stat[stat.rindex(")") + 2:].split()
                parents[int(entry)] = int(fields[1])
                used[int(entry)] = sum(map(int, fields[11:15])) / TICK
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return {pid: used[pid] for pid in found if pid in used}

    def cpu(self):
        return sum(self.tree().values())

    def peak_mib(self):
        """The sum of VmHWM over the tree: pages that processes share count in each of them."""
        total = 0
        for pid in self.tree():
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            total += int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
        return total / 1024
