"""Soak: connections of all kinds through migrations, reloads, upgrades and faults, for as long as told.

    soak.py MINUTES [CONNECTIONS] [--churn N]

Three services. "steady": no fault touches it, so nothing may go wrong on it. "stormy": its backends are killed and come back; a connection
that was open at that moment may be reset, no other. "still": CONNECTIONS that do nothing but stay open, and still answer at the end.
Exit status: 0 good, 1 something was not as it must be, 64 usage. See docs/soak.md."""
import argparse
import collections
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from shunt.clients import Peer  # noqa: E402
from shunt.config import group, steps  # noqa: E402
from shunt.daemon import BUILD, SANITIZED, Daemon  # noqa: E402
from shunt.faults import Faults  # noqa: E402
from shunt.load import LoadClient, LoadServer  # noqa: E402
from shunt.process import children, descriptor_kinds, die_with_parent, memory_bytes  # noqa: E402
from shunt.waiting import scaled, wait_until  # noqa: E402

HOSTS = 24  # addresses that the clients of steady come from
GRACE_S = 0.5  # a connection that began so soon after a kill may still have met the killed backend
DRAIN = "5s"
HEALTH = {"type": "tcp", "interval": "200ms", "timeout": "500ms", "rise": 1, "fall": 2}


class Backend:
    """One backend process, which can be killed and come back at its port."""

    def __init__(self, name):
        self.name, self.deaths = name, []
        self.holder = socket.socket()
        self.holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.holder.bind(("127.0.0.1", 0))
        self.port = self.holder.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.told = []
        self.start()

    def start(self):
        self.popen = subprocess.Popen([sys.executable, "-B", HERE / "traffic.py", "backend", self.name, str(self.port)],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        assert self.popen.stdout.readline() == "ready\n"
        self.reader = threading.Thread(target=lambda pipe=self.popen.stdout: self.told.extend(pipe))
        self.reader.start()

    def kill(self):
        self.deaths.append(time.monotonic())
        self.end()

    def end(self):
        self.popen.kill()
        self.popen.wait()
        self.reader.join()
        self.popen.stdout.close()

    def stop(self):
        self.end()
        self.holder.close()


class Clients:
    """One process of clients of all kinds."""

    def __init__(self, service, port, n, seed, hosts):
        self.service, self.told = service, []
        self.popen = subprocess.Popen([sys.executable, "-B", HERE / "traffic.py", "clients", str(port), str(n), str(seed), str(hosts)],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.reader = threading.Thread(target=lambda: self.told.extend(self.popen.stdout))
        self.reader.start()

    def stop(self):
        """Lets them finish what is under way."""
        self.popen.stdin.close()
        self.reader.join()
        assert self.popen.wait() == 0, "the clients broke"
        self.popen.stdout.close()

    def failures(self):
        return [one for one in map(json.loads, list(self.told)) if "what" in one]

    def counts(self):
        return json.loads(self.told[-1])["counts"]


class Samples(threading.Thread):
    """Descriptors, memory and open connections of the daemon, each second."""

    def __init__(self, soak):
        super().__init__()
        self.soak, self.enough, self.rows = soak, threading.Event(), []
        self.start()

    def run(self):
        while not self.enough.wait(1):
            if self.soak.shunt.formers:
                continue  # some of what is open is not in this process
            try:
                status = self.soak.shunt.status()
                pid = self.soak.shunt.pid
                kinds = descriptor_kinds(pid)
                self.rows.append({"at": time.monotonic(), "pid": pid, "open": sum(one["connections"]["open"] for one in status["services"]),
                                  "descriptors": sum(kinds.values()) - kinds.get("pipe", 0), "pipes": kinds.get("pipe", 0),
                                  "memory": memory_bytes(pid)})
            except (OSError, ValueError, IndexError, KeyError):
                continue  # asked at a moment of change: a second later will do

    def stop(self):
        self.enough.set()
        self.join()

    def slope(self, value, warm_s):
        """Least squares, per hour, without the first warm_s seconds of each program; a program that took another's place has
        a level of its own. 0 without enough samples."""
        product = square = 0.0
        for pid in {row["pid"] for row in self.rows}:
            rows = [row for row in self.rows if row["pid"] == pid]
            rows = [row for row in rows if row["at"] - rows[0]["at"] >= warm_s]
            if len(rows) < 10:
                continue
            xs, ys = [row["at"] for row in rows], [value(row) for row in rows]
            x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
            product += sum((x - x0) * (y - y0) for x, y in zip(xs, ys))
            square += sum((x - x0) ** 2 for x in xs)
        return 3600 * product / square if square else 0.0


class Soak:
    def __init__(self, folder, connections, churn, upgrade_every):
        self.upgrade_every = upgrade_every
        self.done, self.wrong, self.rounds = collections.Counter(), [], 0
        self.faults = None if SANITIZED or not (BUILD / "tests" / "libfaults.so").exists() else Faults(folder)
        self.steady = {name: [Backend(f"steady-{name}-{i}") for i in range(2)] for name in ("old", "new")}
        self.stormy = {name: [Backend(f"stormy-{name}-{i}") for i in range(2)] for name in ("old", "new")}
        self.still = LoadServer(deadline=1_000_000)
        self.shunt = Daemon(folder / "shunt", [
            self.service("steady", self.steady, assign="client", fallback=False, migration=steps(("100%", "1h"), drain=DRAIN)),
            self.service("stormy", self.stormy, migration=steps(("20%", "700ms"), ("60%", "700ms"), ("100%", "700ms"), drain=DRAIN)),
            {"name": "still", "listen": ["127.0.0.1:0"], "timeouts": {"idle": "100h"},
             "groups": [group("old", [self.still.address], health=HEALTH)]}],
            environment=self.faults.environment if self.faults else None, log={"level": "warn"}).start()
        ports = {name: self.shunt.port(service=name) for name in ("steady", "stormy", "still")}
        for one in self.shunt.settings["services"]:
            one["listen"] = [f"127.0.0.1:{ports[one['name']]}"]
        self.shunt.write()
        wait_until(lambda: all(one["usable"] for name in ("steady", "stormy") for one in self.shunt.service(name)["groups"]),
                   "all backends are checked", within=20)
        self.port, self.connections = ports, connections
        self.idle = self.hold() if connections else None
        self.clients = [Clients("steady", ports["steady"], churn, 1, HOSTS), Clients("stormy", ports["stormy"], churn, 2, 1)]
        self.samples = Samples(self)

    @staticmethod
    def service(name, backends, **settings):
        groups = [group(one, [backend.address for backend in backends[one]], health=HEALTH) for one in ("old", "new")]
        return {"name": name, "listen": ["127.0.0.1:0"], "retries": 5, **settings, "groups": groups}

    # What happens to it.

    def hold(self):
        idle = LoadClient("idle", self.port["still"], "--connections", self.connections, deadline=1_000_000)
        report = idle.report()
        assert report["errors"] == 0, report
        assert idle.line() == "ready"
        return idle

    def check_held(self):
        """All that were held answer."""
        if self.idle:
            self.idle.say("check")
            report = self.idle.report()
            self.require(report["errors"] == 0, f"connections that were held: {report}")

    def require(self, condition, what):
        if not condition:
            self.wrong.append(what)

    def name_for(self, host):
        """Which group of steady serves a client of that address."""
        sock = socket.socket()
        sock.bind((f"127.0.1.{1 + host}", 0))
        sock.connect(("127.0.0.1", self.port["steady"]))
        with Peer(sock) as peer:
            peer.send(b"short 1 0 0\n")
            return peer.receive_line().decode().split("-")[1]

    def migrate_steady(self):
        """By hand, with a look at each share: the clients on the new side only become more, and nobody changes in between."""
        active = self.shunt.service("steady")["active"]
        moved = set()
        for share in (10, 40, 70, 100):
            self.shunt.ctl("share", "steady", f"{share}%").ok()
            sides = [self.name_for(host) for host in range(HOSTS)]
            now = {host for host in range(HOSTS) if sides[host] != active}
            self.require(moved <= now, f"sticky clients went back at {share}%: {sorted(moved - now)}")
            self.require(share < 100 or len(now) == HOSTS, f"at 100% {HOSTS - len(now)} clients are still on {active}")
            moved = now
        self.shunt.ctl("commit", "steady").ok()
        self.shunt.wait_phase("completed", service="steady", within=30)
        self.done["migrations"] += 1

    def migrate_stormy(self, abort):
        """By its plan, while one of its backends dies and comes back."""
        self.shunt.ctl("start", "stormy").ok()
        victims = self.stormy["old"] + self.stormy["new"]
        victim = victims[self.rounds % len(victims)]
        victim.kill()
        self.done["backends killed"] += 1
        if abort:
            self.shunt.ctl("abort", "stormy").ok()
            self.shunt.wait_phase("rolled-back", service="stormy", within=30)
            self.done["migrations aborted"] += 1
        else:
            self.shunt.wait_phase("draining", "completed", service="stormy", within=60)
        victim.start()
        if not abort:
            self.shunt.wait_phase("completed", service="stormy", within=30)
            self.done["migrations"] += 1
        wait_until(lambda: all(one["usable"] == 2 for one in self.shunt.service("stormy")["groups"]), "the backend is back", within=20)

    def reload(self):
        good = self.shunt.path.read_text()
        self.shunt.path.write_text("services = (")
        self.shunt.ctl("reload").refused("nothing was changed")
        self.shunt.path.write_text(good)
        for one in self.shunt.settings["services"]:
            one["retries"] = 5 + self.done["reloads"] % 3
        self.shunt.write()
        self.shunt.ctl("reload").ok()
        self.done["reloads"] += 1

    def disk(self):
        """The journal cannot be written: a step towards new is refused, traffic does not notice."""
        if not self.faults:
            return
        self.faults.arm("fdatasync", "EIO", times=1 << 30)
        self.shunt.ctl("share", "stormy", "5%").refused("journal")
        self.faults.disarm("fdatasync")
        wait_until(lambda: self.shunt.ctl("share", "stormy", "5%").code == 0, "the journal can be written again")
        self.shunt.ctl("abort", "stormy").ok()
        self.shunt.wait_phase("rolled-back", service="stormy", within=30)
        self.done["disk faults"] += 1

    def upgrade(self):
        """Another program takes its place. What is held goes on in the former one, answers, and is held anew in the new one."""
        self.shunt.upgrade()
        self.check_held()
        if self.idle:
            self.idle.stop()
            self.idle = self.hold()
        self.shunt.wait_formers(within=90)
        self.done["upgrades"] += 1

    def count(self):
        """Every connection accepted is open or closed for a reason, and none for want of a backend or for a fault of ours."""
        for one in self.shunt.status()["services"]:
            counts = one["connections"]
            closed = counts["closed"]
            gap = counts["accepted"] - counts["open"] - sum(closed.values())
            self.require(abs(gap) <= 50, f"{one['name']}: {gap} connections are neither open nor closed")  # read while they come and go
            for reason in ("internal", "no-backend", "limit", "killed"):
                self.require(closed.get(reason, 0) == 0, f"{one['name']}: {closed.get(reason)} closed as {reason}")
        self.require(not children(self.shunt.pid), "a child process was left")

    def run(self, until):
        while time.monotonic() < until:
            self.migrate_steady()
            self.migrate_stormy(abort=self.rounds % 3 == 2)
            self.reload()
            self.disk()
            if self.rounds % self.upgrade_every == self.upgrade_every - 1:
                self.upgrade()
            self.check_held()
            self.count()
            self.rounds += 1
            print(f"round {self.rounds}: {dict(self.done)}, {self.samples.rows[-1] if self.samples.rows else ''}, "
                  f"{len(self.wrong)} wrong", flush=True)

    # Its end.

    def unexplained(self):
        """Failures of clients that no kill and no drain explains."""
        deaths = [at for backends in self.stormy.values() for one in backends for at in one.deaths]
        cut_off, found = collections.Counter(), []
        for clients in self.clients:
            for one in clients.failures():
                if clients.service == "stormy" and any(one["began"] <= at + GRACE_S and one["end"] >= at for at in deaths):
                    self.done["connections lost with their backend"] += 1
                elif one["kind"] == "long":
                    cut_off[clients.service] += 1  # by a drain at its deadline, or else the counters tell
                else:
                    found.append(f"{clients.service}: {one}")
        for name, n in cut_off.items():
            drained = self.shunt.service(name)["connections"]["closed"].get("drained", 0)
            self.done["connections ended by a drain"] += n
            if n > drained:
                found.append(f"{name}: {n} long connections were cut off, only {drained} by a drain")
        for one in (*self.steady["old"], *self.steady["new"], *self.stormy["old"], *self.stormy["new"]):
            found += [f"{one.name}: {line.strip()}" for line in one.told if not self.near_a_death(json.loads(line), one, deaths)]
        return found

    def near_a_death(self, told, backend, deaths):
        """What a backend of stormy saw around the time when another one died: a connection that was tried there first."""
        return backend.name.startswith("stormy") and any(abs(told["end"] - at) < 2 for at in deaths)

    def finish(self):
        for clients in self.clients:
            clients.stop()
        self.check_held()
        if self.idle:
            self.idle.stop()
        self.samples.stop()
        self.wrong += self.unexplained()
        try:
            self.shunt.stop()  # looks at counters, descriptors, pipes, children and its log
        except AssertionError as failure:
            self.wrong.append(str(failure)[:2000])

    def stop_all(self):
        for one in (*self.clients, self.still, *self.steady["old"], *self.steady["new"], *self.stormy["old"], *self.stormy["new"]):
            if one.popen.poll() is None or isinstance(one, (Backend, LoadServer)):
                one.stop()

    def summary(self, seconds):
        totals = collections.Counter()
        for clients in self.clients:
            totals.update({f"{clients.service} {kind}": n for kind, n in clients.counts().items()})
        warm_s = seconds / 4  # the history of events and the journal fill to their bounds first
        return {"seconds": round(seconds), "rounds": self.rounds, **self.done, "connections": dict(totals),
                "descriptors_per_hour": round(self.samples.slope(lambda row: row["descriptors"] - 2 * row["open"], warm_s), 1),
                "memory_per_hour_mib": round(self.samples.slope(lambda row: row["memory"], warm_s) / (1 << 20), 2),
                "most_open": max((row["open"] for row in self.samples.rows), default=0),
                "most_memory_mib": round(max((row["memory"] for row in self.samples.rows), default=0) / (1 << 20), 1),
                "wrong": len(self.wrong)}


def main():
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Connections of all kinds through migrations, reloads, upgrades and faults.")
    parser.add_argument("minutes", type=float)
    parser.add_argument("connections", type=int, nargs="?", default=500, help="held open all the while (default 500)")
    parser.add_argument("--churn", type=int, default=60, help="clients that come and go on each of two services (default 60)")
    parser.add_argument("--upgrade-every", type=int, default=20, help="rounds (default 20; a round takes some 12 s)")
    words = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shunt-soak-") as folder:
        soak = Soak(pathlib.Path(folder), words.connections, words.churn, words.upgrade_every)
        try:
            try:
                soak.run(began + words.minutes * 60)
            except AssertionError as failure:
                soak.wrong.append(str(failure)[:2000])
            soak.finish()
        finally:
            if soak.shunt.popen is not None and soak.shunt.popen.poll() is None:
                soak.shunt.kill()
            soak.stop_all()
        for line in soak.wrong[:40]:
            print(f"wrong: {line}")
        print(json.dumps(soak.summary(time.monotonic() - began)))
        return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
