#!/usr/bin/python3
"""Fails on an include that goes up or sideways in the house, or into another room's _internal header.

Usage: floors.py ROOT. Reads every .c and .h of the rooms; prints FILE:LINE: what is wrong.
"""
import pathlib
import re
import sys

# A room may include itself and the rooms named here.
MAY_INCLUDE = {
    "core": set(),
    "balancer": {"core"},
    "proxy": {"core", "balancer"},
    "health": {"core", "balancer"},
    "migration": {"core", "balancer"},
    "admin": {"core", "balancer", "proxy", "health", "migration"},
    "daemon": {"core", "balancer", "proxy", "health", "migration", "admin"},
}
# What keeps the balancer pure, and the decisions free of an event loop.
FORBIDDEN_SYSTEM = {
    "balancer": ("event2/", "openssl/", "sys/socket.h", "sys/epoll.h", "unistd.h", "pthread.h"),
}
PURE_FILES = {
    "health/verdict.c": ("event2/", "sys/socket.h"),
    "migration/machine.c": ("event2/", "sys/socket.h", "unistd.h", "jansson.h"),
    "migration/gate.c": ("event2/", "sys/socket.h", "unistd.h", "jansson.h"),
    "migration/gate_evidence.c": ("event2/", "sys/socket.h", "unistd.h", "jansson.h"),
    "migration/gate_judge.c": ("event2/", "sys/socket.h", "unistd.h", "jansson.h"),
    "migration/gate_window.c": ("event2/", "sys/socket.h", "unistd.h", "jansson.h"),
    "migration/plan.c": ("event2/", "sys/socket.h", "unistd.h", "jansson.h"),
    "migration/refusal.c": ("event2/", "sys/socket.h", "unistd.h", "jansson.h"),
    "migration/journal_text.c": ("event2/", "sys/socket.h", "unistd.h", "fcntl.h"),
    "proxy/conn_state.c": ("event2/", "sys/socket.h", "unistd.h"),
}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def findings(root):
    for room, allowed in MAY_INCLUDE.items():
        for path in sorted((root / room).rglob("*.[ch]")):
            name = path.relative_to(root).as_posix()
            forbidden = FORBIDDEN_SYSTEM.get(room, ()) + PURE_FILES.get(name, ())
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                kind, target = match.groups()
                if any(target.startswith(prefix) for prefix in forbidden):
                    yield f"{name}:{number}: {target} is not for this file: it must stay pure"
                if kind == "<":
                    continue
                other = target.split("/")[0]
                if "/" not in target:
                    yield f'{name}:{number}: write "{room}/{target}": includes count from the top of the tree'
                elif other not in MAY_INCLUDE:
                    yield f"{name}:{number}: {target} is in no room"
                elif other != room and other not in allowed:
                    yield f"{name}:{number}: {room} may not include {other}"
                elif other != room and target.endswith("_internal.h"):
                    yield f"{name}:{number}: {target} is internal to {other}"


def main():
    root = pathlib.Path(sys.argv[1])
    found = list(findings(root))
    print("\n".join(found) if found else "floors: all includes go down")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
