"""The password login of FastAPI's tutorial, with this comparison's Argon2 parameters.

As in the tutorial, `POST /token` is an `async def` that checks the password on the event loop. With `TOKEN_HANDLER=def`
it is a plain `def`, which FastAPI runs on its pool of 40 threads.
"""

import os
from datetime import datetime, timedelta, timezone
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, HTTPException, Response, status
from fastapi.responses import PlainTextResponse
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pydantic import BaseModel

SECRET = os.environ["JWT_SECRET"]
ISSUER = "http://127.0.0.1"
AUDIENCE = "compare"
TTL = 900

# pwdlib's own default is m=65536, t=3, p=4: about nine times the work.
passwords = PasswordHash((Argon2Hasher(memory_cost=19456, time_cost=2, parallelism=1),))
users = {
    "alice": {"hash": passwords.hash("wonderland123"), "scope": "items:read items:write"},
    "bob": {"hash": passwords.hash("builder456"), "scope": "items:read"},
}
DUMMY = passwords.hash("nobody")

app = FastAPI()
bearer = OAuth2PasswordBearer(tokenUrl="token")


class Token(BaseModel):
    access_token: str
    token_type: str
    expires_in: int
    scope: str


class Me(BaseModel):
    username: str
    scope: str


def login(form: OAuth2PasswordRequestForm, response: Response) -> Token:
    user = users.get(form.username)
    if not passwords.verify(form.password, user["hash"] if user else DUMMY) or user is None:
        raise HTTPException(status_code=400, detail="Incorrect username or password")
    now = datetime.now(timezone.utc)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": form.username,
        "exp": now + timedelta(seconds=TTL),
        "iat": now,
        "scope": user["scope"],
    }
    response.headers["cache-control"] = "no-store"
    return Token(
        access_token=jwt.encode(claims, SECRET, algorithm="HS256"),
        token_type="bearer",
        expires_in=TTL,
        scope=user["scope"],
    )


if os.environ.get("TOKEN_HANDLER") == "def":

    @app.post("/token")
    def token(form: Annotated[OAuth2PasswordRequestForm, Depends()], response: Response) -> Token:
        return login(form, response)

else:

    @app.post("/token")
    async def token(form: Annotated[OAuth2PasswordRequestForm, Depends()], response: Response) -> Token:
        return login(form, response)


async def current_user(token: Annotated[str, Depends(bearer)]) -> Me:
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], issuer=ISSUER, audience=AUDIENCE)
    except jwt.InvalidTokenError:
        raise HTTPException(
            status_code=status.HTTP_401_UNAUTHORIZED,
            detail="Could not validate credentials",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return Me(username=claims["sub"], scope=claims["scope"])


@app.get("/", response_class=PlainTextResponse)
async def root() -> str:
    return "FastAPI\n"


@app.get("/users/me")
async def me(user: Annotated[Me, Depends(current_user)]) -> Me:
    return user
