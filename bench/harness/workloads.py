"""What is measured: one class a kind of work, one instance a row of the table.

A measurement starts a server and a contender, lets the client connect, takes the contender's CPU time, says "go",
and takes it again when the client reports. So setting up and tearing down are outside of the window.
"""
import contextlib
import json
import pathlib
import subprocess
import tempfile
import time

from .contenders import Floor, Shunt
from .process import Failure, Process

GIB = 1 << 30


class Bench:
    """What all measurements need: where bench_load is, and whether to be short."""

    def __init__(self, build, quick):
        self.load = pathlib.Path(build) / "bench" / "bench_load"
        self.pick = pathlib.Path(build) / "bench" / "bench_pick"
        self.quick = quick

    @contextlib.contextmanager
    def setup(self, contender, server_mode, size):
        """Yields (server, port of the contender, temporary folder)."""
        with tempfile.TemporaryDirectory(prefix="shunt-bench-") as name, contextlib.ExitStack() as stack:
            folder = pathlib.Path(name)
            server = Process([self.load, "server", server_mode, "--size", size], folder)
            stack.callback(server.stop)
            backend = int(server.line().split()[1])
            stack.callback(contender.stop)
            port = contender.start(backend, folder)
            yield server, port, folder

    def client(self, stack, folder, mode, port, *options):
        client = Process([self.load, "client", mode, "--connect", f"127.0.0.1:{port}", *options], folder)
        stack.callback(client.stop)
        return client


def report_of(client):
    report = json.loads(client.line())
    if report["errors"]:
        raise Failure(f"{report['mode']}: {report['errors']} operations failed: {report['errors_by_kind']}")
    return report


class Work:
    """name: for the command line. title, unit: for the table. targets: limits of our ratio to others.

    A result is a dictionary with "value" (what is compared) and whatever else is worth keeping."""

    def __init__(self, name, title, unit, targets, peers=True, floor=True):
        self.name, self.title, self.unit, self.targets = name, title, unit, targets
        self.peers, self.floor = peers, floor

    bulk = tls = False

    def wants(self, kind):
        if (kind.bulk_only and (not self.bulk or self.tls)) or (self.tls and not kind.can_tls) or \
                (kind.tls_only and not self.tls):
            return False
        return kind is Shunt or (kind is Floor and self.floor) or (kind is not Floor and self.peers)

    def contender(self, kind):
        return kind()

    def measure(self, bench, kind):
        raise NotImplementedError


class CpuWork(Work):
    """CPU time of the contender by unit of work done; of client and server together for the floor."""

    def __init__(self, *words, mode, server, options, size=128, bulk=False, **more):
        super().__init__(*words, **more)
        self.mode, self.server, self.options, self.size, self.bulk = mode, server, options, size, bulk
        self.tls = mode.startswith("tls-")

    def contender(self, kind):
        return kind(bulk=self.bulk, tls=self.tls)

    def units(self, report):
        """How many units were done, and what turns nanoseconds into the unit of the table."""
        if self.bulk:
            return report["bytes"] / GIB, 1e6
        return report["operations"], 1e3

    def measure(self, bench, kind):
        contender = self.contender(kind)
        with bench.setup(contender, self.server, self.size) as (server, port, folder), \
                contextlib.ExitStack() as stack:
            client = bench.client(stack, folder, self.mode, port, "--size", self.size, *self.options(bench.quick))
            ready = client.line()
            if ready != "ready":
                raise Failure(f"client: {ready}")
            measured = contender.process or server
            before = measured.cpu_ns()
            client.say("go")
            report = report_of(client)
            cpu = measured.cpu_ns() - before
        if "--resume" in self.options(bench.quick) and set(report["tags"]) != {"r"}:
            raise Failure(f"not every session was resumed: {report['tags']}")
        if contender.process is None:
            cpu += report["cpu_ns"]
        count, scale = self.units(report)
        return {"value": cpu / count / scale, "report": report, "cpu_ns": cpu}


class LatencyWork(Work):
    """Time of a round trip on one connection, as a user gets it without settings."""

    def contender(self, kind):
        return kind(defaults=True)

    def measure(self, bench, kind):
        contender = self.contender(kind)
        with bench.setup(contender, "echo", 128) as (_, port, folder), contextlib.ExitStack() as stack:
            client = bench.client(stack, folder, "rt", port, "--seconds", 0.7 if bench.quick else 2)
            client.line()
            client.say("go")
            report = report_of(client)
        return {"value": report["p50_us"], "report": report}


class MemoryWork(Work):
    """Resident memory of the contender that each idle connection costs, after one round trip on each."""

    WARM = 100

    def __init__(self, *words, tls=False, **more):
        super().__init__(*words, **more)
        self.tls = tls

    def contender(self, kind):
        return kind(tls=self.tls)

    def measure(self, bench, kind):
        contender = self.contender(kind)
        count = 2000 if bench.quick or self.tls else 8000
        mode = "tls-idle" if self.tls else "idle"
        with bench.setup(contender, "echo", 128) as (_, port, folder), contextlib.ExitStack() as stack:
            warm = bench.client(stack, folder, mode, port, "--connections", self.WARM)
            report_of(warm)
            before = contender.process.memory_bytes()
            idle = bench.client(stack, folder, mode, port, "--connections", count)
            report = report_of(idle)
            after = contender.process.memory_bytes()
        return {"value": (after - before) / count, "report": report, "connections": count}


class IdleWork(Work):
    """Part of a core that a daemon burns with health checks running and no traffic, in percent."""

    def measure(self, bench, kind):
        contender = kind(defaults=True, health=True)
        seconds = 4 if bench.quick else 12
        with bench.setup(contender, "echo", 128):
            before, began = contender.process.cpu_ns(), time.monotonic()
            time.sleep(seconds)
            spent, lasted = contender.process.cpu_ns() - before, time.monotonic() - began
        return {"value": spent / lasted / 1e7}


class PickWork(Work):
    """What a pick with its lease costs, by bench_pick, for the dearest strategy at a number of backends."""

    def __init__(self, *words, backends, **more):
        super().__init__(*words, **more)
        self.backends = backends

    def measure(self, bench, kind):
        if not bench.pick.exists():
            raise Failure("bench_pick is not built")
        result = subprocess.run([bench.pick], capture_output=True, text=True, timeout=300, check=True)
        by_strategy = {}
        picks = result.stdout.partition("publish")[0]  # the table of picks stands before that of publishes
        for line in picks.splitlines():
            words = line.split()  # strategy, number of backends, ns on one thread, ns on two
            if len(words) == 4 and words[1] == str(self.backends):
                by_strategy[words[0]] = float(words[2])
        if not by_strategy:
            raise Failure(f"bench_pick said nothing about {self.backends} backends: {result.stdout[:200]}")
        return {"value": max(by_strategy.values()), "strategies": by_strategy}


def round_trips(connections, size=128):
    def options(quick):
        seconds = 0.7 if quick else 2
        return ["--connections", connections, "--seconds", seconds]
    return {"mode": "rt", "server": "echo", "options": options, "size": size}


def connects():
    # Few enough that the ports of the last second suffice: a search for a free one would be measured too.
    return {"mode": "connect", "server": "echo",
            "options": lambda quick: ["--connections", 16, "--operations", 2000 if quick else 4000]}


def bulk(mode, server):
    return {"mode": mode, "server": server, "bulk": True,
            "options": lambda quick: ["--connections", 4, "--bytes", GIB // 2 if quick else 2 * GIB]}


def tls_connects(*more):
    return {"mode": "tls-connect", "server": "echo", "floor": False,
            "options": lambda quick: ["--connections", 16, "--operations", 500 if quick else 2000, *more]}


ROUND_TRIP = "µs CPU a round trip"
ALL = (
    CpuWork("rt64", "round trips of 128 B, 64 connections", ROUND_TRIP,
            {"best peer": 0.90, "pen": 1.0, "floor": 1.15}, **round_trips(64)),
    CpuWork("rt1000", "round trips of 128 B, 1000 connections", ROUND_TRIP,
            {"best peer": 0.75, "pen": 1.0, "floor": 1.40}, **round_trips(1000)),
    CpuWork("rt8k", "round trips of 8 KiB, 64 connections", ROUND_TRIP, {}, **round_trips(64, 8192)),
    CpuWork("rt8000", "round trips of 128 B, 8000 connections", ROUND_TRIP, {"rt1000": 1.3}, **round_trips(8000)),
    CpuWork("connect", "connect + round trip + close", "µs CPU a connection",
            {"best peer": 0.90, "pen": 1.0, "floor": 1.00}, **connects()),
    CpuWork("upload", "upload, 4 connections", "ms CPU a GiB", {"best peer": 0.55, "floor": 0.65},
            **bulk("upload", "sink")),
    CpuWork("download", "download, 4 connections", "ms CPU a GiB", {"best peer": 0.55, "floor": 0.65},
            **bulk("download", "source")),
    CpuWork("tls-rt64", "TLS in front: round trips of 128 B, 64 connections", ROUND_TRIP, {"best peer": 0.95},
            **{**round_trips(64), "mode": "tls-rt", "floor": False}),
    CpuWork("tls-rt16k", "TLS in front: round trips of 16 KiB, 64 connections", ROUND_TRIP, {},
            **{**round_trips(64, 16384), "mode": "tls-rt", "floor": False}),
    CpuWork("tls-full", "TLS in front: connect + full handshake + round trip", "µs CPU a connection", {},
            **tls_connects()),
    CpuWork("tls-resumed", "TLS in front: the same, resumed", "µs CPU a connection", {}, **tls_connects("--resume")),
    CpuWork("tls-download", "TLS in front: download, 4 connections", "ms CPU a GiB", {"best peer": 0.95},
            **{**bulk("tls-download", "source"), "floor": False}),
    MemoryWork("tls-memory", "TLS in front: memory of an idle connection", "bytes", {}, floor=False, tls=True),
    LatencyWork("pingpong", "one connection, round trip p50, default settings", "µs", {"best peer": 0.45}),
    MemoryWork("memory", "memory of an idle connection", "bytes", {"limit": 700}, floor=False),
    IdleWork("idle", "idle daemon with health checks", "% of a core", {"limit": 1.0}, peers=False, floor=False),
    PickWork("pick10", "pick among 10 backends, dearest strategy", "ns", {"limit": 100}, peers=False, floor=False,
             backends=10),
    PickWork("pick1000", "pick among 1000 backends, dearest strategy", "ns", {"limit": 1000}, peers=False,
             floor=False, backends=1000),
)


def named(names):
    known = {work.name: work for work in ALL}
    missing = [name for name in names if name not in known]
    if missing:
        raise Failure(f"no workload {', '.join(missing)}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else list(ALL)
