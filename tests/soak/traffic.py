"""The two ends of the soak's connections, each a program of its own: backends that can be killed, and clients of all kinds.

    traffic.py backend NAME PORT            serves until it is killed or its standard input ends
    traffic.py clients PORT N SEED HOSTS    N clients at a time until a line comes, then finishes what is under way

A connection opens with a line "KIND SEED UP DOWN"; the backend answers with its name in a line. Bytes are cut from a pattern
at a place that the seed decides, so both ends know each byte. Whatever is not as it must be is one line of JSON on standard
output; the last line is the counts. One thread, asyncio."""
import asyncio
import ctypes
import hashlib
import json
import random
import resource
import signal
import socket
import struct
import sys
import time

PATTERN = random.Random(1).randbytes(1_048_573)  # a prime: pieces of no usual size repeat
PIECE = 1 << 16
PATIENCE_S = 30


def tell(**words):
    print(json.dumps(words), flush=True)


def cut(seed, offset, size):
    """Bytes offset … offset+size of the stream that the seed names."""
    at = (seed * 7919 + offset) % len(PATTERN)
    part = PATTERN[at:at + size]
    while len(part) < size:
        part += PATTERN[:size - len(part)]
    return part


class Wrong(Exception):
    """Bytes, an end or an abort that should not be."""


class Line:
    """One end of a connection."""

    def __init__(self, sock):
        self.sock, self.loop, self.left = sock, asyncio.get_running_loop(), b""
        sock.setblocking(False)

    async def some(self, most=PIECE):
        if self.left:
            part, self.left = self.left[:most], self.left[most:]
            return part
        return await asyncio.wait_for(self.loop.sock_recv(self.sock, most), PATIENCE_S)

    async def words(self):
        """One line without its end; empty when the stream ends first."""
        while b"\n" not in self.left:
            part = await asyncio.wait_for(self.loop.sock_recv(self.sock, PIECE), PATIENCE_S)
            if not part:
                return []
            self.left += part
        line, self.left = self.left.split(b"\n", 1)
        return line.decode().split()

    async def send(self, data):
        await asyncio.wait_for(self.loop.sock_sendall(self.sock, data), PATIENCE_S)

    async def send_stream(self, seed, size, most=PIECE):
        for offset in range(0, size, most):
            await self.send(cut(seed, offset, min(most, size - offset)))

    async def expect_stream(self, seed, size, pause_s=0, most=PIECE):
        """Reads size bytes and looks at each; their digest."""
        digest, offset = hashlib.sha256(), 0
        while offset < size:
            part = await self.some(min(most, size - offset))
            if not part:
                raise Wrong(f"the end after {offset} of {size} bytes")
            if part != cut(seed, offset, len(part)):
                raise Wrong(f"other bytes after {offset} of {size}")
            digest.update(part)
            offset += len(part)
            if pause_s:
                await asyncio.sleep(pause_s)
        return digest.hexdigest()

    async def expect_echo(self, data):
        got = b""
        while len(got) < len(data):
            part = await self.some(len(data) - len(got))
            if not part:
                raise Wrong(f"the end after {len(got)} of {len(data)} bytes of an echo")
            got += part
        if got != data:
            raise Wrong("another echo")

    async def expect_end(self):
        if await self.some():
            raise Wrong("bytes behind the end")

    def shut(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


# The backends.

async def serve(line, name):
    words = await line.words()
    if not words:
        return  # a check, or a client that went away
    kind, seed, up, down = words[0], *map(int, words[1:])
    await line.send(name.encode() + b"\n")
    if kind in ("short", "bulk", "slow"):
        digest, _ = await asyncio.gather(line.expect_stream(seed, up), line.send_stream(seed + 1, down))
        await line.send(digest.encode() + b"\n")
        await line.expect_end()
    elif kind == "half":
        digest = await line.expect_stream(seed, up)
        await line.expect_end()
        await line.send_stream(seed + 1, down)
        await line.send(digest.encode() + b"\n")
    elif kind == "reset-client":
        try:
            await line.expect_stream(seed, up)
        except ConnectionResetError:
            return
        raise Wrong("everything came from a client that has reset")
    elif kind == "reset-backend":
        await line.send_stream(seed + 1, down)
        line.reset()
    elif kind == "long":
        while part := await line.some():
            await line.send(part)


async def backend(name, port):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the soak holds the port while nobody listens
    listener.bind(("127.0.0.1", int(port)))
    listener.listen(1024)
    listener.setblocking(False)
    loop, running = asyncio.get_running_loop(), set()
    print("ready", flush=True)

    async def one(sock):
        with sock:
            try:
                await serve(Line(sock), name)
            except (ConnectionError, TimeoutError, asyncio.TimeoutError):
                pass  # the client's side tells
            except Wrong as wrong:
                tell(where=name, what=str(wrong), end=time.monotonic())

    while True:
        sock, _ = await loop.sock_accept(listener)
        task = asyncio.create_task(one(sock))
        running.add(task)
        task.add_done_callback(running.discard)


# The clients.

KINDS = (("short", 60), ("half", 12), ("reset-client", 8), ("reset-backend", 6), ("slow", 5), ("bulk", 5), ("long", 4))


async def talk(line, kind, dice, enough):
    seed = dice.randrange(1 << 30)
    up = {"bulk": 3_000_000, "slow": 1000, "reset-client": 400_000}.get(kind, dice.randrange(1, 3000))
    down = {"bulk": 3_000_000, "slow": 600_000, "reset-backend": 200_000}.get(kind, dice.randrange(1, 20_000))
    await line.send(f"{kind} {seed} {up} {down}\n".encode())
    if kind == "reset-client":
        await line.send_stream(seed, dice.randrange(1, up))
        line.reset()
        return
    if not await line.words():
        raise Wrong("the end in place of an answer")
    if kind in ("short", "bulk", "slow"):
        pause_s, most = (0.03, 16_384) if kind == "slow" else (0, PIECE)
        _, _ = await asyncio.gather(line.expect_stream(seed + 1, down, pause_s, most), line.send_stream(seed, up))
        expected = hashlib.sha256(b"".join(cut(seed, at, min(PIECE, up - at)) for at in range(0, up, PIECE))).hexdigest()
        if await line.words() != [expected]:
            raise Wrong("another digest")
    elif kind == "half":
        await line.send_stream(seed, up)
        line.shut()
        await line.expect_stream(seed + 1, down)
        await line.words()
        await line.expect_end()
    elif kind == "reset-backend":
        try:
            await line.expect_stream(seed + 1, down + 1)  # one more than there are: an end in order would be wrong
        except ConnectionResetError:
            return
    else:
        for turn in range(dice.randrange(3, 20)):
            data = cut(seed, turn, dice.randrange(1, 4000))
            await line.send(data)
            await line.expect_echo(data)
            if enough.is_set():
                break
            await asyncio.sleep(dice.random() * 2)


async def clients(port, n, seed, hosts):
    loop, dice, counts = asyncio.get_running_loop(), random.Random(int(seed)), {}
    enough = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), enough.set)
    kinds, weights = zip(*KINDS)

    async def one(number):
        while not enough.is_set():
            kind = dice.choices(kinds, weights)[0]
            began = time.monotonic()
            sock = socket.socket()
            if kind == "slow":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            if hosts != "1":
                sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
                sock.bind((f"127.0.1.{1 + number % int(hosts)}", 0))
            sock.setblocking(False)
            try:
                with sock:
                    await asyncio.wait_for(loop.sock_connect(sock, ("127.0.0.1", int(port))), PATIENCE_S)
                    await talk(Line(sock), kind, dice, enough)
                counts[kind] = counts.get(kind, 0) + 1
            except (OSError, Wrong, TimeoutError, asyncio.TimeoutError) as failure:
                what = str(failure) if isinstance(failure, Wrong) else type(failure).__name__
                tell(where="clients", kind=kind, what=what, began=began, end=time.monotonic())
                counts["failed"] = counts.get("failed", 0) + 1
                await asyncio.sleep(0.05)
            await asyncio.sleep(dice.random() * 0.1)

    await asyncio.gather(*(one(number) for number in range(int(n))))
    tell(counts=counts)


def main():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: ends with the soak, however that ends
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run({"backend": backend, "clients": clients}[sys.argv[1]](*sys.argv[2:]))


if __name__ == "__main__":
    main()
