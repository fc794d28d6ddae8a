#!/usr/bin/env python3
"""Sends every request of cases.json to a server and compares the responses with FastAPI's.

    replay.py BASE_URL SECRET_KEY [--edges]

SECRET_KEY is the key that the server signs with. `--edges` adds the cases marked `edge`.
Prints a line for each case and `N passed, N failed` last; exits 1 if any failed. README.md describes the format.
"""

import http.client
import json
import pathlib
import re
import sys
import time
import urllib.parse

import jwt

import make_token

HERE = pathlib.Path(__file__).parent
USERS = json.loads((HERE / "users.json").read_text())


class Server:
    def __init__(self, base, key):
        self.base = base.rstrip("/")
        self.address = urllib.parse.urlsplit(base).netloc
        self.key = key

    def send(self, method, path, headers, body):
        """Status, headers and the body, as text."""
        connection = http.client.HTTPConnection(self.address, timeout=20)
        connection.request(method, path, None if body is None else body.encode(), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text

    def login(self, username, scopes):
        form = {"username": username, "password": USERS[username]["password"], "scope": scopes}
        headers = {"content-type": "application/x-www-form-urlencoded"}
        status, _, text = self.send("POST", "/token", headers, urllib.parse.urlencode(form))
        if status != 200:
            raise RuntimeError(f"login of {username} answered {status}: {text}")
        return json.loads(text)["access_token"]

    def fill(self, text):
        """`text` with its placeholders replaced."""

        def value(found):
            kind, argument = found.group(1), found.group(2)
            if kind == "made":
                return make_token.named(self.key, argument)
            username = kind.partition(" ")[2] or "johndoe"
            return self.login(username, argument)

        return re.sub(r"\{\{(token(?: \w+)?|made):([^}]*)\}\}", value, text)

    def run(self, request):
        headers = {name: self.fill(value) for name, value in request["headers"].items()}
        return self.send(request["method"], request["path"], headers, request["body"])


def missing_from(found, wanted, path="$"):
    """The places where `wanted`, an object with objects inside, is not contained in `found`."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            yield from missing_from(found.get(name), value, f"{path}.{name}")
    elif found != wanted:
        yield f"{path}: {json.dumps(found)}, expected {json.dumps(wanted)}"


def differences(server, expected, status, headers, text, edges):
    """The differences between the response and the expected one, as lines."""
    if status != expected["status"]:
        yield f"status {status}, expected {expected['status']}"
    for name, value in expected["headers"].items():
        value = value and value.replace("{{base}}", server.base)
        if headers.get(name) != value:
            yield f"{name}: {headers.get(name)!r}, expected {value!r}"
    try:
        body = json.loads(text) if text else None
    except ValueError:
        body = text
    if "includes" in expected:
        yield from missing_from(body, expected["includes"])
        return
    wanted = expected["body"]
    if "claims" in expected:
        # The token differs each time, so its claims are compared instead.
        token = body.get("access_token", "") if isinstance(body, dict) else ""
        wanted = wanted | {"access_token": token}
        try:
            # The tutorial's own check refuses a token with an audience.
            found = jwt.decode(token, server.key, algorithms=["HS256"], options={"verify_aud": edges})
        except jwt.InvalidTokenError as error:
            yield f"PyJWT refuses the access token: {error}"
        else:
            for name, value in expected["claims"].items():
                if found.get(name) != value:
                    yield f"claim {name}: {found.get(name)!r}, expected {value!r}"
            if abs(found.get("exp", 0) - time.time() - 60 * expected["minutes"]) > 30:
                yield f"the token expires at {found.get('exp')}, expected {expected['minutes']} minutes from now"
    if body != wanted:
        yield f"body {json.dumps(body)}, expected {json.dumps(wanted)}"


def main(base, key, *options):
    server = Server(base, key)
    edges = "--edges" in options
    failed = passed = 0
    for case in json.loads((HERE / "cases.json").read_text()):
        if case.get("edge") and not edges:
            continue
        try:
            found = list(differences(server, case["response"], *server.run(case["request"]), edges))
        except (OSError, RuntimeError) as error:
            found = [str(error)]
        passed, failed = passed + (not found), failed + bool(found)
        print("FAIL" if found else "ok", case["name"], *(f"\n     {line}" for line in found), flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
