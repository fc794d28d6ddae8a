"""Two clients that no load tool offers: a paced probe, and clients that retry at once when refused.

    python3 clients.py probe PORT SECONDS RATE        GET / at RATE a second, however long the responses take
    python3 clients.py storm PORT SECONDS N ADDRESSES N clients that log in again and again

Each prints one line of JSON. The probe opens its connections, prints `ready`, and starts when it reads a line from
standard input, so that a load can start in between. They connect only to 127.0.0.1 and stop by themselves.
"""

import asyncio
import collections
import json
import os
import sys
import time

from servers import FORM

IN_TIME = 2.0  # seconds: a slower login counts as late
GIVE_UP = 5.0  # seconds: after this a client of the storm hangs up and counts a time-out
GET = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
POST = (
    "POST /token HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    f"content-length: {len(FORM)}\r\n\r\n{FORM}"
).encode()


class Connection:
    def __init__(self, port, source=None):
        self.port, self.source, self.streams = port, source, None

    async def ask(self, request):
        """The status of the response, after all of it has arrived."""
        if self.streams is None:
            local = (self.source, 0) if self.source else None
            self.streams = await asyncio.open_connection("127.0.0.1", self.port, local_addr=local)
        reader, writer = self.streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if (at := head.find(b"\r\ncontent-length:")) >= 0:
            await reader.readexactly(int(head[at + 17:head.index(b"\r\n", at + 2)]))
        elif b"\r\ntransfer-encoding: chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        else:
            raise ValueError(f"an answer without a length: {head!r}")
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head[9:12])

    def close(self):
        if self.streams is not None:
            self.streams[1].transport.abort()
            self.streams = None


async def probe(port, seconds, rate):
    latencies, idle, tasks, errors = [], collections.deque(), set(), 0

    async def one():
        nonlocal errors
        # Uses the connection that was idle longest, so that every process gets requests and closes none for being idle.
        connection = idle.popleft() if idle else Connection(port)
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(20):
                try:
                    status = await connection.ask(GET)
                except (OSError, EOFError):
                    # Closed while idle: tries once more on a new one, like a browser. The clock keeps running.
                    connection.close()
                    status = await connection.ask(GET)
        except (OSError, EOFError, TimeoutError):
            status = None
        latencies.append(time.perf_counter() - begun)
        if status == 200:
            idle.append(connection)
        else:
            errors += 1
            connection.close()

    # Opens connections before the clock starts, so that only GET / is measured. They are enough for a server that
    # stalls for a second; one that stalls longer must accept more.
    connections = [Connection(port) for _ in range(256)]
    await asyncio.gather(*(connection.ask(GET) for connection in connections))
    idle.extend(connections)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    for turn in range(int(seconds * rate)):
        await asyncio.sleep(start + turn / rate - time.perf_counter())
        task = asyncio.create_task(one())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return {"latencies": latencies, "errors": errors}


async def storm(port, seconds, clients, addresses):
    counts = dict.fromkeys(("good", "late", "refused", "timeouts", "errors", "other"), 0)

    async def client(number):
        source = f"127.0.1.{1 + number % addresses}" if addresses > 1 else None
        connection = Connection(port, source)
        while True:
            begun = time.perf_counter()
            try:
                async with asyncio.timeout(GIVE_UP):
                    status = await connection.ask(POST)
            except TimeoutError:
                counts["timeouts"] += 1
                connection.close()
                continue
            except (OSError, EOFError):
                counts["errors"] += 1
                connection.close()
                # Asks again soon after the server hangs up, but not in a busy loop, which would load the client.
                await asyncio.sleep(0.05)
                continue
            if status == 200:
                counts["good" if time.perf_counter() - begun <= IN_TIME else "late"] += 1
            else:
                counts["refused" if status == 503 else "other"] += 1

    tasks = [asyncio.create_task(client(number)) for number in range(clients)]
    done, _ = await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()
    return counts


def main():
    what, port, seconds, *rest = sys.argv[1:]
    if what == "probe":
        # With a lower priority than the servers' threads, the probe would measure its own wait for a core.
        try:
            os.nice(-10)
        except PermissionError:
            print("clients.py: not allowed a higher priority: latencies hold the client's own wait", file=sys.stderr)
    work = {"probe": probe, "storm": storm}[what](int(port), float(seconds), *map(int, rest))
    begun = time.monotonic()
    result = asyncio.run(work)
    result["client_cores"] = time.process_time() / (time.monotonic() - begun)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
