"""Load beyond what Python can make: bench_load as server and as client."""
import json
import subprocess

from .daemon import program
from .process import die_with_parent
from .waiting import scaled


class LoadProcess:
    def __init__(self, *words, deadline=300):
        command = [program("bench_load"), *map(str, words), "--deadline", str(int(scaled(deadline)))]
        self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      preexec_fn=die_with_parent)

    def line(self):
        line = self.popen.stdout.readline()
        assert line, f"bench_load ended with {self.popen.wait()}"
        return line.strip()

    def report(self):
        return json.loads(self.line())

    def say(self, line):
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def alive(self):
        return self.popen.poll() is None

    def stop(self):
        if not self.popen.stdin.closed:
            self.popen.stdin.close()
        try:
            self.popen.wait(scaled(10))
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise
        finally:
            self.popen.stdout.close()


class LoadServer(LoadProcess):
    """mode: echo, sink, source, stream. Replies of echo are made of tag."""

    def __init__(self, mode="echo", tag="x", size=128, listen="127.0.0.1:0", **more):
        super().__init__("server", mode, "--tag", tag, "--size", size, "--listen", listen, **more)
        self.address = f"127.0.0.1:{self.line().split()[1]}"

    def counters(self):
        self.say("counters")
        return self.report()


class LoadClient(LoadProcess):
    """mode: rt, connect, idle, stream… Runs until stop_and_report, or its own end if options give one."""

    def __init__(self, mode, port, *options, **more):
        super().__init__("client", mode, "--connect", f"127.0.0.1:{port}", *options, **more)

    def go(self):
        ready = self.line()
        assert ready == "ready", ready
        self.say("go")
        return self

    def stop_and_report(self):
        """Ends the load; its report. What was under way is finished first."""
        self.say("stop")
        return self.report()
