"""otp.py SECRET [TIME...]: prints the code of an authenticator app at these times in seconds since 1970, and now by default."""

import sys
import time

import pyotp

app = pyotp.TOTP(sys.argv[1])
for at in sys.argv[2:] or [time.time()]:
    print(app.at(int(at)))
