#!/usr/bin/env python3
"""Runs FastAPI's own tests of its page "OAuth2 scopes" against a server.

    tutorial_tests.py BASE_URL

Downloads FastAPI's source distribution for the tests. Runs only those that use HTTP, except the one that compares the
OpenAPI document. Prints a line for each and `N passed, N failed` last; exits 1 if any failed.
"""

import pathlib
import subprocess
import sys
import tarfile
import tempfile
import types

import httpx

VERSION = "0.165.0"
FILE = f"fastapi-{VERSION}/tests/test_tutorial/test_security/test_tutorial005.py"


def source():
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:", "--dest", folder]
        subprocess.run([sys.executable, "-m", "pip", "download", *options, f"fastapi=={VERSION}"], check=True)
        [archive] = pathlib.Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as files:
            return files.extractfile(FILE).read().decode()


def stub(name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def main(base):
    def decorator(*_, **__):
        return lambda function: function

    def client(_):
        return httpx.Client(base_url=base, follow_redirects=True, timeout=20)

    stub("pytest", fixture=decorator, param=lambda *_, **__: None, FixtureRequest=None)
    stub("fastapi")
    stub("fastapi.testclient", TestClient=client)
    stub("inline_snapshot", snapshot=lambda value: value)
    stub("tests")
    stub("tests.utils", needs_py310=None)
    module = types.ModuleType("tests.test_tutorial.test_security.test_tutorial005")
    module.__package__ = "tests.test_tutorial.test_security"
    exec(compile(text := source(), FILE, "exec"), vars(module))

    passed = failed = 0
    for name, test in vars(module).items():
        if not name.startswith("test_") or name == "test_openapi_schema":
            continue
        start = text.index(f"def {name}(")
        if "TestClient(" not in text[start : text.find("\ndef ", start)]:
            continue
        try:
            test(types.SimpleNamespace(app=None))
        except Exception as error:
            failed += 1
            print(f"FAILED {name}: {error!r}")
        else:
            passed += 1
            print(f"ok {name}")
    print(f"{passed} passed, {failed} failed")
    return failed or passed != 15


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
