"""Medians, ratios against the targets, and how they are printed and kept."""
import json
import pathlib
import platform
import statistics
import time

from .contenders import ALL as CONTENDERS
from .process import cpu_count

PEERS = ("haproxy", "nginx", "hitch")
MARK_BEGIN = "<!-- bench: begin -->"
MARK_END = "<!-- bench: end -->"


def machine():
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    memory = int(pathlib.Path("/proc/meminfo").read_text().split()[1]) >> 20
    return {"cpu": model, "cpus": cpu_count(), "memory_gib": memory, "kernel": platform.release(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def versions():
    return {kind.name: kind.version() for kind in CONTENDERS if hasattr(kind, "version")}


class Results:
    """Values by workload and contender, one for each round that worked."""

    def __init__(self):
        self.rounds = {}
        self.failures = []

    def add(self, work, name, result):
        self.rounds.setdefault(work, {}).setdefault(name, []).append(result)

    def fail(self, work, name, text):
        self.failures.append({"workload": work, "contender": name, "text": text})

    def median(self, work, name):
        rounds = self.rounds.get(work, {}).get(name)
        return statistics.median(one["value"] for one in rounds) if rounds else None

    def reference(self, work, against):
        """The value that a target compares ours with, and its name."""
        if against == "best peer":
            found = [(self.median(work, peer), peer) for peer in PEERS if self.median(work, peer) is not None]
            return min(found) if found else (None, against)
        if against in self.rounds.get(work, {}):
            return self.median(work, against), against
        return self.median(against, "shunt"), against  # another workload of ours

    def checks(self, work):
        """(what, observed, limit, good) for each target that could be judged."""
        ours = self.median(work.name, "shunt")
        for against, limit in work.targets.items():
            if ours is None:
                continue
            if against == "limit":
                yield "value", ours, limit, ours <= limit
                continue
            value, name = self.reference(work.name, against)
            if value:
                yield f"/ {name}", ours / value, limit, ours / value <= limit


def number(value):
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def rows(results, works):
    names = [kind.name for kind in CONTENDERS]
    for work in works:
        values = [number(results.median(work.name, name)) for name in names]
        checks = [f"{'✔' if good else '✖'} {what} {observed:.2f} ≤ {limit:g}"
                  for what, observed, limit, good in results.checks(work)]
        yield [f"{work.title}, {work.unit}", *values, "  ".join(checks)]


def heads():
    return ["workload", *(kind.name for kind in CONTENDERS), "targets"]


def text(results, works, facts):
    table = [heads(), *rows(results, works)]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [facts_line(facts), ""]
    for row in table:
        cells = [cell.ljust(width) if i in (0, len(row) - 1) else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    lines += [f"failed: {one['workload']} {one['contender']}: {one['text']}" for one in results.failures]
    return "\n".join(lines)


def facts_line(facts):
    m, v = facts["machine"], facts["versions"]
    programs = ", ".join(f"{name}: {version}" for name, version in v.items() if version)
    return (f"{m['cpu']}, {m['cpus']} CPUs, {m['memory_gib']} GiB, Linux {m['kernel']}, {m['time']}, "
            f"medians of {facts['rounds']} interleaved rounds\n{programs}")


def latency_rows(results, works):
    """Rate and latency of the round with the median value, where the client measured them."""
    for work in works:
        for name, rounds in results.rounds.get(work.name, {}).items():
            middle = sorted(rounds, key=lambda one: one["value"])[len(rounds) // 2].get("report")
            if middle and middle["p50_us"] and name != "floor" and work.name != "memory":
                yield [work.title, name, f"{middle['rate']:.0f}", number(middle["p50_us"]),
                       number(middle["p99_us"]), number(middle["p999_us"])]


def markdown_table(table):
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def markdown(results, works, facts):
    latency = [["workload", "proxy", "a second", "p50 µs", "p99 µs", "p99.9 µs"], *latency_rows(results, works)]
    return "\n\n".join([MARK_BEGIN, facts_line(facts).replace("\n", "  \n"),
                        markdown_table([heads(), *rows(results, works)]),
                        "Rates and latencies by the wall clock, in the same runs:", markdown_table(latency), MARK_END])


def write_markdown(path, block):
    """Puts the block between the marks of the file, or makes the file."""
    path = pathlib.Path(path)
    old = path.read_text() if path.exists() else f"# Performance\n\n{MARK_BEGIN}\n{MARK_END}\n"
    if MARK_BEGIN not in old:
        old += f"\n{MARK_BEGIN}\n{MARK_END}\n"
    head, rest = old.split(MARK_BEGIN, 1)
    path.write_text(head + block + rest.split(MARK_END, 1)[1])


def keep(folder, results, facts):
    """Writes everything as JSON; returns the path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{facts['machine']['time'].replace(':', '')}.json"
    path.write_text(json.dumps({**facts, "results": results.rounds, "failures": results.failures}, indent=1))
    return path
