"""One connection that carries gigabytes in both directions at once; every byte is compared, digests match.

SHUNT_BULK_BYTES sets how much goes each way (default 4 GB; 20 GB is what is promised).
"""
import os

import pytest
from shunt.config import service
from shunt.load import LoadClient
from shunt.waiting import wait_until

BYTES = int(os.environ.get("SHUNT_BULK_BYTES", "4000000000"))
# So many at a time, 20 times.
DYING = int(os.environ.get("SHUNT_BULK_DYING", "500"))


def stream(shunt, load_client, size, *options):
    client = load_client("stream", shunt.port(), "--bytes", size, "--now", *options, deadline=1200)
    digests = client.report()
    report = client.report()
    print(f"\n{size} bytes each way in {report['seconds']:.1f} s, longest wait {digests['longest_wait_ms']} ms, "
          f"digest up {digests['sent_digest']}, down {digests['received_digest']}")
    assert report["errors"] == 0, report
    assert digests["sent"] == digests["received"] == size
    assert digests["sent_digest"] == digests["server_digest"]
    assert digests["longest_wait_ms"] < 5000


def test_gigabytes_both_ways(daemon, load_server, load_client):
    shunt = daemon(service([load_server("stream").address]), log={"level": "info"})
    stream(shunt, load_client, BYTES)
    wait_until(lambda: shunt.backend("old")["bytes_in"] >= BYTES and shunt.backend("old")["bytes_out"] >= BYTES,
               "all bytes are counted")


@pytest.mark.parametrize("seed", range(1, 6))
def test_pieces_of_all_sizes(daemon, load_server, load_client, seed):
    """Now a few bytes, now many, at both ends: the relay changes between copying and splicing all the time."""
    server = load_server("stream", deadline=600)
    shunt = daemon(service([server.address]), log={"level": "info"})
    stream(shunt, load_client, max(BYTES // 40, 1000003) + seed, "--uneven", "--seed", seed)


def test_clients_that_die_in_the_middle_leave_nothing(daemon, load_server):
    """Their pipes and descriptors come back: the daemon's end is checked by the fixture."""
    server = load_server("source")
    shunt = daemon(service([server.address]), log={"level": "info"})
    for _ in range(20):
        client = LoadClient("download", shunt.port(), "--connections", DYING, "--bytes", 40 << 30, "--now")
        wait_until(lambda: shunt.service()["connections"]["open"] >= DYING, "the downloads run")
        client.popen.kill()
        client.popen.wait()
        client.popen.stdin.close()
        client.popen.stdout.close()
        wait_until(shunt.settled, "all are closed and counted")
