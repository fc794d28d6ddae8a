"""main.py BASE_URL: runs the Python clients against an example server."""

import asyncio
import os
import sys
import time

# Without these settings both libraries refuse plain HTTP; the server is on this machine.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from oauthlib.oauth2 import LegacyApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

import checks

BASE = sys.argv[1].rstrip("/")
TOKEN, REVOKE = f"{BASE}/token", f"{BASE}/revoke"
TIMEOUT = 20


def call(method, path, access_token, json=None):
    """A request with a bearer token, as any HTTP client sends it."""
    headers = {"Authorization": f"Bearer {access_token}"}
    answer = requests.request(method, BASE + path, headers=headers, json=json, timeout=TIMEOUT)
    return answer.status_code, answer.json() if answer.content else None


class RequestsOauthlib:
    """style: `basic`, `body`, `default` (what the library does by default: Basic with an empty secret), `none`."""

    def __init__(self, style, client, secret=None):
        self.name = f"requests-oauthlib, {client or 'no client'}, {style}"
        self.client, self.secret, self.style = client, secret, style
        self.call = call

    def session(self, scope=None, **options):
        scope = scope.split() if scope else None
        # The library does not send the session's scope with a password.
        client = LegacyApplicationClient(client_id=self.client, scope=scope)
        return OAuth2Session(client=client, scope=scope, **options)

    @staticmethod
    def plain(token):
        """The library makes a list of the scope."""
        return dict(token) | {"scope": " ".join(token["scope"])}

    def credentials(self):
        """The arguments of requests that carry the client, and those for the body."""
        if self.style in ("basic", "default") and self.client:
            return {"auth": HTTPBasicAuth(self.client, self.secret or "")}, {}
        body = {"client_id": self.client, "client_secret": self.secret}
        return {}, {name: value for name, value in body.items() if value}

    def login(self, username, password, scope=None):
        options = {}
        if self.style == "basic":
            options = {"auth": HTTPBasicAuth(self.client, self.secret)}
        elif self.style == "body":
            options = {"include_client_id": True, "client_secret": self.secret}
        return self.plain(
            self.session(scope).fetch_token(
                TOKEN, username=username, password=password, timeout=TIMEOUT, **options
            )
        )

    def refresh(self, refresh_token, scope=None):
        headers, body = self.credentials()
        return self.plain(
            self.session(scope).refresh_token(
                TOKEN, refresh_token=refresh_token, timeout=TIMEOUT, **headers, **body
            )
        )

    def revoke(self, token, hint):
        arguments, extra = self.credentials()
        session = self.session()
        url, headers, body = session._client.prepare_token_revocation_request(REVOKE, token, hint, **extra)
        answer = session.post(url, data=body, headers=headers, withhold_token=True, timeout=TIMEOUT, **arguments)
        checks.equal((answer.status_code, answer.json()), (200, {}))

    def refusal(self, action):
        try:
            result = action()
        except OAuth2Error as error:
            # oauthlib has a class for each registered code; an unknown code would be CustomOAuth2Error.
            expected = "".join(part.title() for part in error.error.split("_")) + "Error"
            checks.equal(type(error).__name__, expected)
            return error.error, error.description
        raise AssertionError(f"accepted: {sorted(result)}")

    def run_own(self, report):
        def refreshes_by_itself():
            token = self.login("alice", "wonderland123") | {"expires_at": time.time() - 1}
            saved = []
            _, body = self.credentials()
            session = self.session(
                token=token, auto_refresh_url=TOKEN, auto_refresh_kwargs=body, token_updater=saved.append
            )
            checks.equal(session.get(f"{BASE}/users/me", timeout=TIMEOUT).json()["username"], "alice")
            checks.equal(len(saved), 1)

        if self.style == "body":
            report.check(f"{self.name}: an expired token is refreshed by itself", refreshes_by_itself)


class Authlib:
    """style: an OAuth method name, or None for the library's default."""

    def __init__(self, style, client, secret=None):
        self.name = f"Authlib, {client}, {style or 'default'}"
        self.client, self.secret, self.style = client, secret, style
        self.call = call

    def options(self, scope=None, **more):
        return dict(
            client_id=self.client,
            client_secret=self.secret,
            scope=scope,
            token_endpoint_auth_method=self.style,
            revocation_endpoint_auth_method=self.style,
            **more,
        )

    def login(self, username, password, scope=None):
        session = AuthlibSession(**self.options(scope))
        return session.fetch_token(
            TOKEN, grant_type="password", username=username, password=password, timeout=TIMEOUT
        )

    def refresh(self, refresh_token, scope=None):
        return AuthlibSession(**self.options(scope)).refresh_token(
            TOKEN, refresh_token=refresh_token, timeout=TIMEOUT
        )

    def revoke(self, token, hint):
        answer = AuthlibSession(**self.options()).revoke_token(
            REVOKE, token=token, token_type_hint=hint, timeout=TIMEOUT
        )
        checks.equal((answer.status_code, answer.json()), (200, {}))

    def refusal(self, action):
        try:
            result = action()
        except OAuthError as error:
            return error.error, error.description
        raise AssertionError(f"accepted: {sorted(result)}")

    def run_own(self, report):
        def refreshes_by_itself():
            token = self.login("alice", "wonderland123")
            saved = []
            session = AuthlibSession(
                **self.options(
                    token=dict(token) | {"expires_at": int(time.time()) - 1},
                    token_endpoint=TOKEN,
                    update_token=lambda token, **old: saved.append(token),
                )
            )
            checks.equal(session.get(f"{BASE}/users/me", timeout=TIMEOUT).json()["username"], "alice")
            checks.equal(len(saved), 1)

        report.check(f"{self.name}: an expired token is refreshed by itself", refreshes_by_itself)


class AuthlibHttpx(Authlib):
    """The same over httpx2, asynchronously."""

    def __init__(self, style, client, secret=None):
        super().__init__(style, client, secret)
        self.name = f"Authlib on httpx2, {client}, {style or 'default'}"

    def ask(self, scope, action):
        async def run():
            async with AsyncOAuth2Client(**self.options(scope), timeout=TIMEOUT) as client:
                return await action(client)

        return asyncio.run(run())

    def login(self, username, password, scope=None):
        return self.ask(
            scope,
            lambda client: client.fetch_token(
                TOKEN, grant_type="password", username=username, password=password
            ),
        )

    def refresh(self, refresh_token, scope=None):
        return self.ask(scope, lambda client: client.refresh_token(TOKEN, refresh_token=refresh_token))

    def revoke(self, token, hint):
        answer = self.ask(None, lambda client: client.revoke_token(REVOKE, token=token, token_type_hint=hint))
        checks.equal((answer.status_code, answer.json()), (200, {}))

    def run_own(self, report):
        pass


def main():
    report = checks.Report()
    secret = "demo-web-secret"
    clients = [
        RequestsOauthlib("basic", "demo-web", secret),
        RequestsOauthlib("body", "demo-web", secret),
        RequestsOauthlib("default", "demo-cli"),
        RequestsOauthlib("body", "demo-cli"),
        RequestsOauthlib("default", None),
        Authlib("client_secret_basic", "demo-web", secret),
        Authlib("client_secret_post", "demo-web", secret),
        Authlib(None, "demo-cli"),
        AuthlibHttpx(None, "demo-web", secret),
    ]
    for client in clients:
        if client.secret:
            client.with_wrong_secret = type(client)(client.style, client.client, "not-the-secret")
        checks.run(report, client)
        client.run_own(report)
    checks.run_pair(report, clients[0], clients[2])
    checks.run_pair(report, clients[7], clients[5])
    return report.failed


if __name__ == "__main__":
    sys.exit(main())
