"""Hooks and webhooks of a migration: what they are told, that they may refuse, and that bad ones do no harm."""
import http.server
import json
import threading
import time

import pytest
from shunt.clients import who
from shunt.config import service, steps
from shunt.peers import named
from shunt.process import children
from shunt.waiting import stays, wait_until


@pytest.fixture(name="web")
def fixture_web(daemon, server):
    def make(plan, **settings):
        return daemon(service([server(named("old")).address], [server(named("new")).address],
                              migration=plan, **settings))
    return make


FIRST_IS_FREE = '[ "$SHUNT_STEP" = 1 ] && exit 0'


def hook(event, script, timeout="5s"):
    return {"on": event, "command": ["/bin/sh", "-c", script], "timeout": timeout}


def test_each_turning_point_is_told(web, tmp_path):
    log = tmp_path / "log"
    write = f'echo "$SHUNT_EVENT $SHUNT_SERVICE $SHUNT_MIGRATION $SHUNT_PHASE $SHUNT_SHARE $SHUNT_STEP" >> {log}'
    plan = {**steps(("50%", "100ms"), ("100%", "100ms"), drain="5s"),
            "hooks": [hook(event, write) for event in
                      ("start", "before-step", "pause", "rollback", "drained", "before-commit", "completed")]}
    shunt = web(plan)
    shunt.ctl("start", "web").ok()
    shunt.wait_phase("completed")
    wait_until(lambda: log.read_text().count("\n") == 6, "all are told")
    assert log.read_text().splitlines() == [
        "start web web-1 preflight 0% 0", "before-step web web-1 preflight 50% 1",
        "before-step web web-1 ramping 100% 2",
        "before-commit web web-1 draining 100% 2", "drained web web-1 completed 100% 2",
        "completed web web-1 completed 100% 2"]
    log.write_text("")
    shunt.ctl("start", "web").ok()
    shunt.wait_phase("ramping", "draining", "completed")
    shunt.wait_phase("completed")
    shunt.ctl("share", "web", "30%").ok()
    shunt.ctl("abort", "web").ok()
    wait_until(lambda: "rollback" in log.read_text(), "all are told")
    assert [line.split()[0] for line in log.read_text().splitlines()] == [
        "start", "before-step", "before-step", "before-commit", "drained", "completed", "start", "rollback"]


def test_the_context_stands_on_standard_input(web, tmp_path):
    out = tmp_path / "out"
    shunt = web({**steps(("50%", "1h"), ("100%", "1h")), "hooks": [hook("pause", f"cat > {out}.part; mv {out}.part {out}")]})
    shunt.ctl("start", "web").ok()
    shunt.ctl("pause", "web", "reason", 'a "quoted" reason').ok()
    wait_until(out.exists, "the hook has run")
    assert out.read_text().endswith("}\n"), "a whole line, as `read` in a shell wants it"
    told = json.loads(out.read_text())
    assert told["event"] == "pause" and told["migration"] == "web-1" and told["share_bp"] == 5000
    assert told["reason"] == 'a "quoted" reason' and told["actor"].startswith("operator:")


def test_a_program_that_is_missing_is_seen_before_the_start(web, tmp_path):
    missing, file = str(tmp_path / "missing"), tmp_path / "file"
    file.write_text("#!/bin/sh\n")
    plan = steps(("50%", "1h"), ("100%", "1h"))
    told = {"on": "pause", "command": [str(file)]}
    shunt = web({**plan, "hooks": [hook("start", "exit 0"), told]})
    assert f"⚠ hook pause cannot be run: {file}: not executable" in shunt.ctl("plan", "web").ok()
    finding = next(one for one in json.loads(shunt.admin("plan web --json"))["plan"]["preflight"] if one["check"] == "hooks")
    assert finding["passed"] and finding["warning"] and "tells nobody" in finding["advice"]
    file.chmod(0o755)
    assert "✔ hooks can be run" in shunt.ctl("plan", "web").ok()
    one = shunt.settings["services"][0]
    one["listen"] = [shunt.address()]
    one["migration"]["hooks"].append({"on": "before-step", "command": [missing]})
    shunt.write()
    shunt.ctl("reload").ok()
    assert f"✖ hook before-step cannot be run: {missing}: no such program" in shunt.ctl("plan", "web").ok()
    shunt.ctl("start", "web").refused("hook before-step cannot be run", "force")
    shunt.ctl("start", "web", "force").ok()
    assert shunt.phase() == "preflight"
    shunt.ctl("abort", "web").ok()


def test_a_refusal_holds_the_step_until_skipped(web):
    shunt = web({**steps(("25%", "100ms"), ("100%", "1h")),
                 "hooks": [hook("before-step", f"{FIRST_IS_FREE}; echo the batch job still runs; exit 1")]})
    shunt.ctl("start", "web").ok()
    wait_until(lambda: "the batch job still runs" in shunt.service()["reason"], "it says why it holds")
    stays(lambda: shunt.service()["share_bp"] == 2500, 0.5, "the share stays")
    assert "refused by hook before-step" in shunt.ctl("events", "web").ok()
    shunt.ctl("skip", "web").ok()
    assert shunt.service()["share_bp"] == 10000


@pytest.fixture(name="asked")
def fixture_asked(web, tmp_path):
    """A daemon whose before-step hook waits for a file and then ends with the status in it; and that file."""
    answer = tmp_path / "answer"

    def make(plan=None, **hooks):
        # A hook outlives a daemon that is killed: this one looks after its parent.
        script = f"until [ -e {answer} ]; do kill -0 $PPID || exit 1; sleep 0.02; done; exit $(cat {answer})"
        return web({**(plan or steps(("25%", "1h"), ("100%", "1h"))),
                    "hooks": [hook("before-step", script, timeout="1m"), *(hook(*one) for one in hooks.items())]}), answer
    return make


def answered(path, status):
    path.with_suffix(".part").write_text(str(status))
    path.with_suffix(".part").rename(path)


def test_the_first_step_is_asked_about_in_preflight(asked):
    shunt, answer = asked()
    assert "preflight, asking the hooks before the first step" in shunt.ctl("start", "web").ok()
    one = shunt.service()
    assert (one["phase"], one["share_bp"], one["step"], one["migration"]) == ("preflight", 0, 0, "web-1")
    assert one["reason"] == "asking the hooks before the first step"
    assert {who(shunt.port()) for _ in range(10)} == {"old"}
    for words in (("start", "web"), ("resume", "web"), ("commit", "web")):
        shunt.ctl(*words).refused("web")
    assert shunt.ctl("wait", "web", "200ms").code == 124, "a migration that is asked about has not ended"
    answered(answer, 0)
    wait_until(lambda: shunt.service()["share_bp"] == 2500, "the first step is taken")
    assert (shunt.phase(), shunt.service()["step"]) == ("ramping", 1)


def test_a_refused_first_step_holds_and_says_why(asked):
    shunt, answer = asked()
    answered(answer, 7)
    shunt.ctl("start", "web", "from-share", "60%").ok()
    wait_until(lambda: "refused by hook before-step" in shunt.service()["reason"], "it says why it holds")
    assert "exit status 7" in shunt.service()["reason"] and "`skip web` does not ask" in shunt.service()["reason"]
    stays(lambda: (shunt.phase(), shunt.service()["share_bp"]) == ("preflight", 0), 0.3, "nothing moves")
    shunt.ctl("skip", "web").ok()
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("ramping", 2500)


def test_abort_in_preflight(asked):
    shunt, _ = asked()
    shunt.ctl("start", "web").ok()
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    assert "given up before the first step: nothing was sent to new" in shunt.ctl("events", "web").ok()


def test_preflight_paused_and_killed_begins_again(asked):
    shunt, answer = asked()
    shunt.ctl("start", "web").ok()
    shunt.ctl("pause", "web").ok()
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("paused", 0)
    shunt.ctl("resume", "web").ok()
    assert shunt.phase() == "preflight"
    shunt.kill()
    shunt.restart()
    assert (shunt.phase(), shunt.service()["migration"]) == ("preflight", "web-1")
    answered(answer, 0)
    wait_until(lambda: shunt.service()["share_bp"] == 2500, "it is asked anew, and goes on")


def test_preflight_over_an_edited_plan_is_given_up(asked):
    shunt, _ = asked()
    shunt.ctl("start", "web").ok()
    shunt.kill()
    shunt.settings["services"][0]["migration"]["steps"][0]["share"] = "30%"
    shunt.restart()
    assert shunt.phase() == "rolled-back"
    assert "the plan was changed before its first step" in shunt.service()["reason"]


def test_what_an_operator_resumes_is_asked_about_too(asked):
    shunt, answer = asked(steps(("25%", "manual"), ("50%", "1h"), ("100%", "1h")))
    answered(answer, 0)
    shunt.ctl("start", "web").ok()
    wait_until(lambda: shunt.phase() == "paused", "it waits at the manual step")
    answer.unlink()
    shunt.ctl("resume", "web").ok()
    wait_until(lambda: shunt.service()["reason"] == "asking the hooks before the next step", "the hook is asked")
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("ramping", 2500)
    shunt.ctl("share", "web", "40%").ok()
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("paused", 4000)
    shunt.ctl("resume", "web").ok()
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("ramping", 4000)
    answered(answer, 0)
    wait_until(lambda: shunt.service()["share_bp"] == 5000, "the step above is taken")


def test_the_hooks_of_the_start_come_first(asked, tmp_path):
    ready = tmp_path / "ready"
    shunt, answer = asked(start=f"until [ -e {ready} ]; do sleep 0.02; done")
    answered(answer, 0)
    shunt.ctl("start", "web").ok()
    assert "waits for the hooks of its start" in shunt.service()["reason"]
    stays(lambda: shunt.phase() == "preflight", 0.3, "nothing is asked yet")
    ready.touch()
    wait_until(lambda: shunt.phase() == "ramping", "then the first step is taken")


def test_a_refused_commit_holds_and_goes_on_when_it_may(web, tmp_path):
    gate = tmp_path / "gate"
    shunt = web({**steps(("100%", "100ms"), drain="5s", commit="manual"),
                 "hooks": [hook("before-commit", f"test -e {gate}")]})
    shunt.ctl("start", "web").ok()
    shunt.wait_phase("awaiting-commit")
    shunt.ctl("commit", "web").ok()
    wait_until(lambda: "refused by hook before-commit" in shunt.service()["reason"], "it says why it holds")
    assert shunt.service()["active"] == "old"
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    gate.write_text("")
    shunt.ctl("start", "web").ok()
    shunt.wait_phase("awaiting-commit")
    shunt.ctl("commit", "web").ok()
    shunt.wait_phase("completed")


@pytest.mark.parametrize("what,script", [("hangs", "sleep 1000"), ("fails", "exit 9"), ("floods", "yes"),
                                         ("forks", "sleep 1000 & sleep 1000 & exit 1"), ("missing", None)])
def test_bad_hooks_do_no_harm(web, what, script):
    one = hook("start", script, timeout="300ms") if script else {"on": "start", "command": ["/nowhere/hook"]}
    shunt = web({**steps(("25%", "200ms"), ("100%", "200ms"), drain="1s"), "hooks": [one, hook("completed", "exit 0")]})
    shunt.ctl("start", "web").ok()
    began = time.monotonic()
    assert who(shunt.port()) in ("old", "new")
    assert time.monotonic() - began < 2
    shunt.wait_phase("completed")
    wait_until(lambda: "hook start" in shunt.ctl("events", "web").ok(), f"one that {what} is told of")


@pytest.mark.parametrize("script", ["sleep 1000", None, "exit 9", "yes", "head -c 1000000 /dev/urandom; exit 1",
                                    "sleep 1000 & sleep 1000 & exit 1"])
def test_a_before_hook_that_cannot_answer_has_refused(web, script):
    one = hook("before-step", script, timeout="300ms") if script else {"on": "before-step", "command": ["/nowhere/hook"]}
    shunt = web({**steps(("25%", "100ms"), ("100%", "1h")), "hooks": [one]})
    shunt.ctl("start", "web", *([] if script else ["force"])).ok()
    wait_until(lambda: "refused by hook before-step" in shunt.service()["reason"], "it is taken as a refusal")
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("preflight", 0)
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")


def test_more_than_can_wait_are_dropped_and_said(web, tmp_path):
    go, log = tmp_path / "go", tmp_path / "log"
    shunt = web({**steps(("25%", "1h"), ("100%", "1h")),
                 "hooks": [hook("pause", f"until [ -e {go} ]; do sleep 0.02; done; echo >> {log}", timeout="1m")]})
    shunt.ctl("start", "web").ok()
    with shunt.admin_connect() as admin:
        for _ in range(70):
            for verb in (b"pause web\n", b"resume web\n"):
                admin.sendall(verb)
                assert not admin.recv(65536).startswith(b"error")
    assert "too many wait before it: not run" in shunt.ctl("events", "web").ok()
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("ramping", 2500), "the migration does not care"
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    go.touch()
    wait_until(lambda: log.exists() and log.read_text() == "\n" * 64 and not children(shunt.pid),
               "those that waited are run", within=20)


def test_abort_does_not_wait_for_a_hook(web):
    shunt = web({**steps(("25%", "100ms"), ("100%", "1h")),
                 "hooks": [hook("before-step", f"{FIRST_IS_FREE}; sleep 1000", timeout="1m"), hook("rollback", "sleep 1000", timeout="1s")]})
    shunt.ctl("start", "web").ok()
    wait_until(lambda: "asking the hooks" in shunt.service()["reason"], "the hook runs")
    shunt.ctl("abort", "web").ok()
    assert {who(shunt.port()) for _ in range(10)} == {"old"}
    shunt.wait_phase("rolled-back")
    wait_until(lambda: "hook rollback" in shunt.ctl("events", "web").ok(), "its time is over")


class Receiver:
    """An HTTP server that answers as told and keeps what it got."""

    def __init__(self, *answers):
        receiver = self
        self.got, self.answers = [], list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers["Content-Type"], json.loads(body)))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/in"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(name="receiver")
def fixture_receiver(started):
    def make(*answers):
        one = Receiver(*answers)
        started.backends.append(one)
        return one
    return make


def test_webhooks_in_both_forms(web, receiver):
    events, chat = receiver(), receiver()
    shunt = web({**steps(("50%", "1h"), ("100%", "1h")),
                 "webhooks": [{"url": events.url}, {"url": chat.url, "format": "text", "on": ["rollback"]}]})
    shunt.ctl("start", "web").ok()
    shunt.ctl("abort", "web", "reason", "CHG-7").ok()
    wait_until(lambda: len(events.got) == 2 and len(chat.got) == 1, "all have arrived")
    kind, first = events.got[0]
    assert kind.startswith("application/cloudevents+json")
    assert first["specversion"] == "1.0" and first["type"] == "shunt.migration.start" and first["subject"] == "web-1"
    assert first["data"]["share_bp"] == 5000 and first["id"] != events.got[1][1]["id"]
    kind, said = chat.got[0]
    assert kind.startswith("application/json") and set(said) == {"text"}
    assert "web-1" in said["text"] and "CHG-7" in said["text"]


def test_a_webhook_is_tried_again_and_given_up(web, receiver):
    late, never = receiver(500, 503), receiver(*[404] * 9)
    shunt = web({**steps(("50%", "1h"), ("100%", "1h")), "webhooks": [{"url": late.url}, {"url": never.url},
                 {"url": "http://127.0.0.1:1/closed", "retries": 0}]})
    shunt.ctl("start", "web").ok()
    wait_until(lambda: len(late.got) == 3, "the third try is taken", within=10)
    assert late.got[0] == late.got[2]
    wait_until(lambda: shunt.ctl("events", "web").ok().count("given up") == 2, "the others are given up")
    assert len(never.got) == 1
