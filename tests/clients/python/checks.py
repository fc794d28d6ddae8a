"""What every client must see with any library: the same checks as js/checks.mjs.

A client is an object with `name`, `client` (its id) and these methods:
    login(username, password, scope=None) -> dict       the token response, as the library returns it
    refresh(refresh_token, scope=None) -> dict
    revoke(token, hint)
    call(method, path, access_token, json=None) -> (status, JSON or None)
    refusal(action) -> (error code, description)         of the library's own error; anything else is raised
If a client can have a wrong secret, it also has `with_wrong_secret`, another such client.
"""

ALL = "items:read items:write"


def equal(found, expected):
    assert found == expected, f"{found!r}, expected {expected!r}"


class Report:
    def __init__(self):
        self.failed = False

    def check(self, name, action):
        try:
            action()
        except Exception as error:
            self.failed = True
            text = str(error).replace("\n", " ")
            print(f"FAIL {name}: {type(error).__name__}: {text}", flush=True)
        else:
            print(f"ok {name}", flush=True)


def run(report, c):
    def login_works():
        token = c.login("alice", "wonderland123")
        equal(token["token_type"].lower(), "bearer")
        equal(sorted(token["scope"].split()), ALL.split())
        assert token["expires_in"] > 0, token["expires_in"]
        assert token["refresh_token"], "no refresh token"
        status, user = c.call("GET", "/users/me", token["access_token"])
        equal((status, user["username"], user["scope"]), (200, "alice", ALL))

    def scope_narrows():
        token = c.login("alice", "wonderland123", "items:read")
        equal(token["scope"], "items:read")
        equal(c.call("GET", "/items", token["access_token"])[0], 200)
        equal(c.call("POST", "/items", token["access_token"], {"name": "tea"})[0], 403)
        token = c.login("alice", "wonderland123", ALL)
        equal(c.call("POST", "/items", token["access_token"], {"name": "tea"})[0], 201)

    def scope_refused():
        equal(c.refusal(lambda: c.login("bob", "builder456", "items:write"))[0], "invalid_scope")

    wrong = ("invalid_grant", "Incorrect username or password")

    def password_refused():
        equal(c.refusal(lambda: c.login("alice", "wrong")), wrong)

    def odd_password_refused():
        equal(c.refusal(lambda: c.login("alice", "pä&ss=w+o%72d 密")), wrong)

    def user_refused():
        # Each client uses its own name, since failures of one name are counted together.
        equal(c.refusal(lambda: c.login(f"nobody of {c.name}", "wonderland123")), wrong)

    def refresh_works():
        first = c.login("alice", "wonderland123")
        second = c.refresh(first["refresh_token"])
        assert second["refresh_token"] != first["refresh_token"], "the refresh token is the old one"
        assert second["access_token"] != first["access_token"], "the access token is the old one"
        equal(sorted(second["scope"].split()), ALL.split())
        equal(c.call("GET", "/users/me", second["access_token"])[0], 200)

    def refresh_narrows():
        first = c.login("alice", "wonderland123")
        second = c.refresh(first["refresh_token"], "items:read")
        equal(second["scope"], "items:read")
        equal(c.call("POST", "/items", second["access_token"], {"name": "tea"})[0], 403)

    def reuse_refused():
        first = c.login("alice", "wonderland123")
        second = c.refresh(first["refresh_token"])
        equal(c.refusal(lambda: c.refresh(first["refresh_token"]))[0], "invalid_grant")
        equal(c.refusal(lambda: c.refresh(second["refresh_token"]))[0], "invalid_grant")

    def revoke_works():
        token = c.login("alice", "wonderland123")["refresh_token"]
        c.revoke(token, "refresh_token")
        equal(c.refusal(lambda: c.refresh(token))[0], "invalid_grant")
        c.revoke(token, "refresh_token")

    def secret_refused():
        other = c.with_wrong_secret
        equal(other.refusal(lambda: other.login("alice", "wonderland123"))[0], "invalid_client")
        token = c.login("alice", "wonderland123")
        equal(other.refusal(lambda: other.refresh(token["refresh_token"]))[0], "invalid_client")
        c.refresh(token["refresh_token"])

    for name, action in [
        ("login", login_works),
        ("scopes", scope_narrows),
        ("a scope the user may not have is the library's invalid_scope", scope_refused),
        ("wrong password is the library's invalid_grant", password_refused),
        ("so is one of odd characters", odd_password_refused),
        ("so is an unknown user, in the same words", user_refused),
        ("refresh", refresh_works),
        ("refresh to fewer scopes", refresh_narrows),
        ("a used refresh token is invalid_grant and ends its line", reuse_refused),
        ("revoke, twice", revoke_works),
    ]:
        report.check(f"{c.name}: {name}", action)
    if getattr(c, "with_wrong_secret", None):
        report.check(f"{c.name}: wrong secret is the library's invalid_client and spends nothing", secret_refused)


def run_pair(report, one, other):
    """`one` and `other` have different client ids."""

    def refused():
        token = one.login("alice", "wonderland123")["refresh_token"]
        equal(other.refusal(lambda: other.refresh(token))[0], "invalid_grant")
        one.refresh(token)

    report.check(f"{other.name}: the refresh token of {one.client} is invalid_grant, and is not spent", refused)
