#!/usr/bin/python3
"""shuntctl against a socket that answers as told: what it sends, prints and returns. Usage: test_shuntctl.py SHUNTCTL"""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SHUNTCTL = None


class Daemon:
    """Takes a connection for each reply, keeps what arrives up to its end, answers with fixed bytes and closes."""

    def __init__(self, folder, *replies):
        self.path = os.path.join(folder, "admin.sock")
        self.replies = replies
        self.received = b""
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(1)
        self.listener.settimeout(20)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        for reply in self.replies:
            client, _ = self.listener.accept()
            with client:
                client.settimeout(20)
                while data := client.recv(4096):
                    self.received += data
                client.sendall(reply)
        self.listener.close()

    def close(self):
        self.thread.join()


class Shuntctl(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.env = {**os.environ, "LC_ALL": "C.UTF-8"}
        self.env.pop("SHUNT_SOCKET", None)

    def run_ctl(self, *words, stdout=subprocess.PIPE, env=None):
        done = subprocess.run([SHUNTCTL, *words], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                              timeout=30, env=env or self.env, check=False)
        return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()

    def ask(self, reply, *words, more=(), **options):
        daemon = Daemon(self.folder.name, reply, *more)
        try:
            result = self.run_ctl("-s", daemon.path, *words, **options)
        finally:
            daemon.close()
            os.unlink(daemon.path)
        return (*result, daemon.received)

    def test_sends_words_quoted_and_prints_the_reply(self):
        code, out, err, sent = self.ask(b"one\ntwo\n\n", "pause", "api", "reason", 'a "b" \\ c', "")
        self.assertEqual(sent, b'pause api reason "a \\"b\\" \\\\ c" ""\n')
        self.assertEqual((code, out, err), (0, "one\ntwo\n", ""))

    def test_options_stand_before_and_after(self):
        for words, sent in ((("--json", "status"), b"status --json\n"), (("status", "--json"), b"status --json\n"),
                            (("--json", "wait", "api", "5s"), b"wait --json api 5s\n"),
                            (("--", "status"), b"status\n"),
                            (("--json", "pause", "api", "reason", "x"), b"pause --json api reason x\n")):
            self.assertEqual(self.ask(b"\n", *words)[3], sent, words)
        self.assertEqual(self.ask(b"\n", "pause", "api", "reason", "-s")[3], b"pause api reason -s\n")
        daemon = Daemon(self.folder.name, b"\n")
        self.assertEqual(self.run_ctl("status", "-s", daemon.path, "api"), (0, "", ""))
        daemon.close()
        self.assertEqual(daemon.received, b"status api\n")
        code, _, err = self.run_ctl("--older", "5m", "connections")
        self.assertEqual(code, 64)
        self.assertIn("those of a command stand after it", err)

    def test_what_a_daemon_says_steers_no_terminal(self):
        hostile = "\x1b]0;x\x07 \x7f \u009b2J \u202e ✔ é\t|".encode() + b"\xff\n"
        shown = "\\u001b]0;x\\u0007 \\u007f \\u009b2J \\u202e ✔ é\t|\\xff\n"
        self.assertEqual(self.ask(hostile + b"\n", "status")[:3], (0, shown, ""))
        self.assertEqual(self.ask(b"error: " + hostile + b"\n", "status")[:3], (1, "", "shuntctl: " + shown))
        text = '{"reason":"a\x7fb\u009b"}\n\n'
        code, out, _, _ = self.ask(text.encode(), "--json", "status")
        self.assertEqual((code, json.loads(out)), (0, {"reason": "a\x7fb\u009b"}))
        self.assertTrue(out.isascii())

    def test_a_locale_without_utf8_gets_ascii(self):
        reply = "web → ≤ 1.5 × … é\n├─ old ✔\n│  └─ ✖ ⚠ ◌ ·\n".encode()
        plain = "web -> <= 1.5 x ... ?\n|- old +\n|  `- X ! o -\n"
        for locale in ("C", "POSIX", "no_SUCH.UTF-8"):
            env = {**self.env, "LC_ALL": locale}
            self.assertEqual(self.ask(reply + b"\n", "status", env=env)[:3], (0, plain, ""), locale)
            self.assertEqual(self.ask(b"error: " + reply.splitlines()[0] + b"\n\n", "status", env=env)[:3],
                             (1, "", "shuntctl: " + plain.splitlines()[0] + "\n"))
            for words in (("--help",), (), ("help", "wait"), ("-x",)):
                code, out, err = self.run_ctl(*words, env={**env, "SHUNT_SOCKET": os.path.join(self.folder.name, "no")})
                self.assertTrue((out + err).isascii() and out + err, (code, out, err))
        env = {key: value for key, value in self.env.items() if key not in ("LC_ALL", "LC_CTYPE", "LANG")}
        self.assertEqual(self.ask(reply + b"\n", "status", env=env)[1], plain)
        self.assertEqual(self.ask(reply + b"\n", "status", env={**env, "LANG": "C.UTF-8"})[1], reply.decode())
        text = '{"text":"25% → 50%"}\n'
        self.assertEqual(self.ask(text.encode() + b"\n", "events", "--json", env={**env, "LC_ALL": "C"})[1], text)

    def test_what_lasts_is_asked_again(self):
        code, out, err, sent = self.ask(b"", "wait", "api", "1h", more=(b"", b"rolled-back\n\n"))
        self.assertEqual((code, out), (3, "rolled-back\n"))
        self.assertEqual(err.count("\n"), 1)
        self.assertIn("trying again", err)
        first, *later = sent.decode().split("\n")[:-1]
        self.assertEqual(first, "wait api 1h")
        for line in later:
            self.assertTrue(3_590_000 < int(re.fullmatch(r"wait api (\d+)ms", line)[1]) < 3_600_000, line)
        self.assertEqual(self.ask(b"one\n", "watch", more=(b"\n" + b"two\n\n",))[:2], (0, "one\ntwo\n"))
        self.assertEqual(self.ask(b"error: no service \"api\"\n", "wait", "api")[0], 1, "a refusal is the end of it")
        self.assertEqual(self.ask(b"completed\n", "wait", "api")[:2], (0, "completed\n"), "nothing more was asked for")

    def test_what_a_stream_missed_is_told(self):
        def line(second, text):
            return f"2126-01-31T12:00:{second:06.3f}Z · web phase plan: {text}\n"

        def told(second, text):
            return json.dumps({"number": 1, "time": line(second, text)[:24], "text": text}, separators=(",", ":")) + "\n"

        def whole(*events):
            return '{"events":[' + ",".join(one.strip() for one in events) + "]}\n"

        for form, join, words in ((line, lambda *events: "".join(events), ()), (told, whole, ("--json",))):
            old, seen, missed = form(1, "old"), form(2, "seen"), form(2.5, "missed")
            for first, events, new in ((seen, (old, seen, missed), (missed,)), (seen, (old, seen), ()),
                                       (seen, (old,), ()), (seen, (), ()),
                                       (seen, (form(2, "before"), seen, form(2, "after")), (form(2, "after"),)),
                                       (seen, (old, form(2.003, "seen"), missed), (missed,)),  # a restart, from the journal
                                       (seen, (missed, missed), (missed, missed))):
                reply = join(*events) + "\n" + form(9, "last") + "\n"
                code, out, _, sent = self.ask(first.encode(), "watch", "web", *words, more=(reply.encode(),))
                self.assertEqual((code, out), (0, first + "".join(new) + form(9, "last")), (words, events))
                self.assertEqual(sent.decode().split("\n")[1:3],
                                 [" ".join(("events web", *words, "1000")), " ".join(("watch web", *words))])
        code, out, _, _ = self.ask(b"web idle\n", "watch", more=((line(1, "since") + "\nweb idle\n\n").encode(),))
        self.assertEqual(out, "web idle\n" + line(1, "since") + "web idle\n", "nothing was shown before")
        past = line(1, "past").replace("2126", "2006")
        code, out, _, _ = self.ask(b"web idle\n", "watch", more=((past + "\nweb idle\n\n").encode(),))
        self.assertEqual(out, "web idle\nweb idle\n", "that was before it was begun")
        code, out, err, _ = self.ask(seen.encode(), "watch", "web", more=(b"error: no service\n\nerror: no service\n\n",))
        self.assertEqual((code, out, err.count("no service")), (1, seen, 1))

    def test_a_daemon_that_stops_is_not_waited_for_long(self):
        stops = b"error: shuntd stops: nothing more comes until it is started again\n\n"
        for words, before in ((("wait", "api"), b""), (("watch",), b"api idle\n")):
            begun = time.monotonic()
            code, out, err, _ = self.ask(before + stops, *words)
            self.assertEqual((code, out), (69, before.decode()))
            self.assertTrue(time.monotonic() - begun < 15, "30 s are for those that said nothing")
            self.assertIn("the daemon stops", err)
            self.assertIn("no daemon at", err)
        code, out, err, _ = self.ask(stops, "wait", "api", more=(b"completed\n\n",))
        self.assertEqual((code, out), (0, "completed\n"), "it was started anew")

    def test_what_lasts_ends_in_time(self):
        for words, shown in ((("wait", "api", "300ms"), "timeout\n"), (("--json", "wait", "api", "300ms"), '{"result":"timeout"}\n')):
            code, out, _, _ = self.ask(b"", *words)
            self.assertEqual((code, out), (124, shown))

    def test_empty_reply(self):
        self.assertEqual(self.ask(b"\n", "events")[:3], (0, "", ""))

    def test_refusals(self):
        for reply, code in ((b"error: no service \"x\"\n\n", 1), (b"error: usage: start SERVICE: missing SERVICE\n\n", 64),
                            (b"error: unknown command \"x\"\n\n", 64), (b"error: not permitted: start needs\n\n", 77)):
            got, out, err, _ = self.ask(reply, "start", "x")
            self.assertEqual((got, out), (code, ""))
            self.assertEqual(err, "shuntctl: " + reply[len("error: "):-1].decode())

    def test_wait_codes(self):
        for word, code in (("completed", 0), ("rolled-back", 3), ("paused", 4), ("timeout", 124)):
            self.assertEqual(self.ask(f"{word}\n\n".encode(), "wait", "api")[:3], (code, word + "\n", ""))
            reply = '{"result":"%s"}\n\n' % word
            self.assertEqual(self.ask(reply.encode(), "wait", "api", "--json")[0], code)
        self.assertEqual(self.ask(b"paused\n\n", "status", "api")[0], 0)

    def test_reply_that_breaks_off(self):
        code, out, err, _ = self.ask(b"half a li", "status")
        self.assertEqual((code, out), (69, "half a li"))
        self.assertIn("before the reply was complete", err)

    def test_no_daemon(self):
        missing = os.path.join(self.folder.name, "none.sock")
        code, out, err = self.run_ctl("-s", missing, "status")
        self.assertEqual((code, out), (69, ""))
        self.assertIn(missing, err)
        stale = os.path.join(self.folder.name, "stale.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(stale)
        self.assertEqual(self.run_ctl("-s", stale, "status")[0], 69)
        self.assertEqual(self.run_ctl("-s", "/" + "x" * 200, "status")[0], 69)

    def test_socket_from_the_environment(self):
        missing = os.path.join(self.folder.name, "env.sock")
        code, _, err = self.run_ctl("status", env={**self.env, "SHUNT_SOCKET": missing})
        self.assertEqual(code, 69)
        self.assertIn(missing, err)
        code, _, err = self.run_ctl("-s" + missing + "2", "status", env={**self.env, "SHUNT_SOCKET": missing})
        self.assertIn(missing + "2", err)

    def test_help_without_a_daemon(self):
        missing = os.path.join(self.folder.name, "none.sock")
        code, out, err = self.run_ctl("-s", missing, "help")
        self.assertEqual((code, err), (0, ""))
        for name in ("status", "start", "abort", "weight"):
            self.assertIn("\n" + name, out)
        code, out, _ = self.run_ctl("-s", missing, "help", "start")
        self.assertEqual(code, 0)
        self.assertTrue(out.startswith("start SERVICE [to GROUP]"))
        self.assertEqual(self.run_ctl("-s", missing, "help", "sttart")[0], 64)

    def test_usage(self):
        for words in ((), ("-x", "status"), ("-s",), ("status", "a\nabort api"), ("status", "\x1b[2J")):
            code, out, err = self.run_ctl(*words)
            self.assertEqual((code, out), (64, ""), words)
            self.assertIn("usage: shuntctl", err)

    def test_version_and_help_options(self):
        code, out, _ = self.run_ctl("--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^shuntctl \d+\.\d+\.\d+\n$")
        self.assertEqual(self.run_ctl("--help")[0], 0)
        code, out, _ = self.run_ctl("start", "--help")
        self.assertEqual(code, 0)
        self.assertIn("start SERVICE", out)

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            code, _, err, _ = self.ask(b"one\n\n", "status", stdout=full)
        self.assertEqual(code, 1)
        self.assertIn("cannot write", err)
        reader, writer = os.pipe()
        os.close(reader)
        try:
            self.assertEqual(self.ask(b"one\ntwo\n\n", "status", stdout=writer)[0], 1)
        finally:
            os.close(writer)


if __name__ == "__main__":
    SHUNTCTL = sys.argv.pop(1)
    unittest.main()
