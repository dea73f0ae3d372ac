"""Commands of an operator in any order, with hooks that may refuse, reloads and kills between them: seeded, and after
each of them what must always hold."""
import os
import random

import pytest
from shunt.clients import who
from shunt.config import service, steps
from shunt.peers import named
from shunt.waiting import wait_until

TURNS = int(os.environ.get("SHUNT_ODD_TURNS", "150"))
PLANS = [steps(("25%", "1h"), ("50%", "150ms"), ("100%", "150ms"), drain="100ms", commit="manual"),
         steps(("10%", "manual"), ("100%", "150ms"), drain="100ms"),
         {"ramp": {"from": "1%", "to": "100%", "over": "1s"}, "drain": {"timeout": "100ms"},
          "rollback": {"shape": "linear", "over": "1s"}}]
BREAKS = {"backend web/new/n drain": "backend web/new/n ready", "backend web/old/o maint": "backend web/old/o ready",
          "weight web/new/n 0": "weight web/new/n 7"}
COMMANDS = ["start web", "start web", "start web force", "start web to old", "start web to new", "start web from-share 50%",
            "start web from-share 0", "share web 0", "share web 33%", "share web 100%", "pause web", "resume web",
            "resume web from-share 60%", "skip web", "skip web", "abort web", "abort web", "commit web", "commit web"]
FULL, NONE = ("draining", "awaiting-commit"), ("idle", "preflight", "rolled-back")


class Operator:
    def __init__(self, daemon, server, folder, seed):
        self.random = random.Random(seed)
        self.answer = folder / "answer"
        self.allow(True)
        self.groups = [{"name": name, "backends": [{"address": server(named(name)).address, "name": name[0]}]}
                       for name in ("old", "new")]
        self.hooks = [{"on": on, "command": ["/bin/sh", "-c", f"exit $(cat {self.answer})"], "timeout": "5s"}
                      for on in ("before-step", "before-commit")]
        self.shunt = daemon(self.service(PLANS[seed % len(PLANS)], seed % 2))
        self.said, self.seen = [], set()

    def service(self, plan, hooks):
        return {"name": "web", "listen": ["127.0.0.1:0"], "groups": self.groups,
                "migration": {**plan, **({"hooks": self.hooks} if hooks else {})}}

    def allow(self, yes):
        part = self.answer.with_suffix(".part")
        part.write_text("0" if yes else "1")
        part.rename(self.answer)

    def turn(self):
        what = self.random.random()
        if what < 0.05:
            self.kill()
        elif what < 0.10:
            self.reload()
        elif what < 0.18:
            self.allow(self.random.random() < 0.7)
        elif what < 0.23:
            self.command(self.random.choice(sorted(BREAKS)))
        elif what < 0.35:
            self.command(self.random.choice(sorted(BREAKS.values())))
        else:
            self.command(self.random.choice(COMMANDS))
        self.look()

    def command(self, line):
        reply = self.shunt.admin(line)
        self.said.append(f"{line}: {reply.splitlines()[0] if reply else ''}")
        if reply.startswith("error:"):
            assert "`" in reply or "already" in reply, f"it does not say what would help: {reply}"

    def kill(self):
        before = self.shunt.service()
        self.shunt.kill()
        self.shunt.restart()
        after = self.shunt.service()
        self.said.append(f"kill: {before['phase']} {before['share_bp']} → {after['phase']} {after['share_bp']}")
        if before["active"] == after["active"] and before["migration"] == after["migration"]:
            quick = ("ramping", "paused", "preflight")  # what goes on by itself may have gone on
            assert after["share_bp"] <= before["share_bp"] or after["phase"] not in NONE, self.said[-5:]
            assert after["phase"] != "idle" or before["phase"] in (*NONE, "completed", *quick), self.said[-5:]

    def reload(self):
        plan = self.random.choice(PLANS)
        one = self.service(plan, self.random.random() < 0.5)
        one["listen"] = [self.shunt.address()]
        self.shunt.settings["services"] = [one]
        self.shunt.write()
        self.said.append(f"reload: {self.shunt.admin('reload').splitlines()[0]}")

    def look(self):
        one = self.shunt.service()
        self.seen.add(one["phase"])
        story = "\n".join([*self.said[-12:], str({key: one[key] for key in ("phase", "share_bp", "step", "active", "target")})])
        if one["phase"] in FULL:
            assert one["share_bp"] == 10000, story
        if one["phase"] in NONE:
            assert one["share_bp"] == 0, story
        if one["phase"] == "paused":
            assert one["reason"], story
        usable = {group["name"]: group["usable"] for group in one["groups"]}
        if one["phase"] in ("idle", "completed", "rolled-back") and usable[one["active"]]:
            assert who(self.shunt.port()) == one["active"], story

    def end(self):
        """From wherever it is: one abort, or a commit, and all is on one side."""
        for backend in ("web/new/n", "web/old/o"):
            self.shunt.admin(f"backend {backend} ready")
            self.shunt.admin(f"weight {backend} 1")
        self.shunt.admin("abort web")
        self.shunt.admin("abort web")
        phase = self.shunt.wait_phase("idle", "rolled-back", "completed")
        active = self.shunt.service()["active"]
        assert {who(self.shunt.port()) for _ in range(10)} == {active}, (phase, self.said[-10:])


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_commanded(daemon, server, tmp_path, seed):
    operator = Operator(daemon, server, tmp_path, seed)
    for _ in range(TURNS):
        operator.turn()
    assert len(operator.seen) >= 4, operator.seen
    operator.end()
    wait_until(lambda: operator.shunt.phase() in ("idle", "rolled-back", "completed"), "it rests")
