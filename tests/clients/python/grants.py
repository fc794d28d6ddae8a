"""grants.py BASE_URL: uses client_credentials and the server's own grant with requests-oauthlib. CA_FILE has the server's CA."""

import base64
import json
import os
import sys

import requests
from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
from requests_oauthlib import OAuth2Session

import checks

BASE = sys.argv[1]
CA = os.environ["CA_FILE"]
OWN = "urn:example:mailed-code"
TIMEOUT = 20


class Grant(BackendApplicationClient):
    """A grant by its name, as oauthlib's own clients are made."""

    def __init__(self, grant_type, client_id, **options):
        super().__init__(client_id, **options)
        self.grant_type = grant_type


def fetch(client, secret=None, **parameters):
    """A token by the grant of an oauthlib client."""
    scope = client.scope
    how = {"client_secret": secret} if secret else {"include_client_id": True}
    return OAuth2Session(client=client, scope=scope).fetch_token(
        f"{BASE}/token", verify=CA, timeout=TIMEOUT, **how, **parameters
    )


def web(grant_type=OWN, scope=None, **parameters):
    return fetch(Grant(grant_type, "web", scope=scope), "web-secret", **parameters)


def sent(address):
    return requests.post(f"{BASE}/mail/{address}", verify=CA, timeout=TIMEOUT).text


def me(token):
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    return requests.get(f"{BASE}/users/me", headers=headers, verify=CA, timeout=TIMEOUT).json()


def claims(token):
    payload = token["access_token"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def refusal(action):
    """The code of the library's own error."""
    try:
        result = action()
    except OAuth2Error as error:
        return error.error
    raise AssertionError(f"accepted: {sorted(result)}")


MAIL = "requests-oauthlib@api.example"


def own_grant_works():
    token = web(scope=["items:read"], mail=MAIL, code=sent(MAIL))
    checks.equal(token["scope"], ["items:read"])
    found = claims(token)
    checks.equal((found["sub"], found["client_id"], found["amr"]), ("alice", "web", ["otp"]))
    checks.equal(me(token), {"subject": "alice", "user": "alice"})
    refreshed = OAuth2Session("web").refresh_token(
        f"{BASE}/token",
        refresh_token=token["refresh_token"],
        auth=("web", "web-secret"),
        verify=CA,
        timeout=TIMEOUT,
    )
    checks.equal(claims(refreshed)["sub"], "alice")


def code_refused():
    code = sent(MAIL)
    checks.equal(refusal(lambda: web(mail=MAIL, code="wrong")), "invalid_grant")
    web(mail=MAIL, code=code)
    checks.equal(refusal(lambda: web(mail=MAIL, code=code)), "invalid_grant")
    web(mail=MAIL, code=sent(MAIL))


def missing_refused():
    code = sent(MAIL)
    for parameters in ({"mail": MAIL}, {"code": code}, {}):
        checks.equal(refusal(lambda: web(**parameters)), "invalid_request")
    web(mail=MAIL, code=code)


def unknown_refused():
    code = sent(MAIL)
    for grant_type in ("urn:example:mailed-codes", "http://auth0.com/oauth/grant-type/mfa-otp"):
        checks.equal(refusal(lambda: web(grant_type, mail=MAIL, code=code)), "unsupported_grant_type")


def client_credentials_work():
    token = fetch(BackendApplicationClient("reports"), "reports-secret")
    checks.equal((token["scope"], token.get("refresh_token")), (["items:read"], None))
    found = claims(token)
    checks.equal(
        (found["sub"], found["client_id"], found["gty"]),
        ("client:reports", "reports", "client_credentials"),
    )
    checks.equal([name for name in ("amr", "sid") if name in found], [])
    checks.equal(me(token), {"subject": "client:reports", "user": None})
    wider = BackendApplicationClient("reports", scope=["items:write"])
    checks.equal(refusal(lambda: fetch(wider, "reports-secret")), "invalid_scope")


def others_unauthorized():
    checks.equal(refusal(lambda: fetch(BackendApplicationClient("cli"))), "unauthorized_client")
    checks.equal(refusal(lambda: fetch(BackendApplicationClient("web"), "web-secret")), "unauthorized_client")


report = checks.Report()
for name, action in [
    ("the own grant is a login", own_grant_works),
    ("a wrong code, or one that was used, is invalid_grant", code_refused),
    ("a parameter that is missing is invalid_request", missing_refused),
    ("a grant that the server does not have is unsupported_grant_type", unknown_refused),
    ("client_credentials is a token of the client, without a refresh token", client_credentials_work),
    ("a public client, or one without a subject, is unauthorized_client", others_unauthorized),
]:
    report.check(f"requests-oauthlib: {name}", action)
sys.exit(report.failed)
