"""What clients that mean harm cost a node: the CPU seconds of everything but the server's thread, with them and without.

`harm.py PROGRAM [ARGS of run]`: three runs, one after the other. Beside the second, another node of the same program is asked all the time, by
clients that are malformed, huge, slow, unauthorised, deaf, and too many: so much they take from a neighbour by using the machine. The third
is asked itself. Give a backend that proves (Miden is the default of a build that has it): of the mock there is nothing to measure.
"""
import os, re, socket, subprocess, sys, tempfile, threading, time

PROGRAM, ARGS = sys.argv[1], sys.argv[2:]
TOKEN = "0123456789abcdef0123456789abcdef"
HZ = os.sysconf("SC_CLK_TCK")
asked = {}


def cpu(stat):
    fields = open(stat).read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / HZ


def head(line, *headers):
    return "\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def once(address, request, wait=1):
    with socket.create_connection(address, 5) as it:
        it.settimeout(wait)
        it.sendall(request)
        while it.recv(65536):
            pass


def slow(address):
    with socket.create_connection(address, 5) as it:
        for byte in head("GET /v1/status"):
            it.send(bytes([byte]))
            time.sleep(0.2)


def endless(address):
    with socket.create_connection(address, 5) as it:
        it.sendall(head("POST /v1/jobs/0/cancel", "Transfer-Encoding: chunked"))
        while True:
            it.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def deaf(address):
    with socket.create_connection(address, 5) as it:
        it.settimeout(2)
        it.sendall(head("GET /v1/chain", f"Authorization: Bearer {TOKEN}") * 500)
        time.sleep(2)


def stream(address):
    once(address, head("GET /v1/events?since=x-0", f"Authorization: Bearer {TOKEN}"), 0.5)


CLIENTS = [
    ("malformed", 2, lambda to: once(to, b"GET / HTTP/9.9\r\nnonsense\r\n\r\n")),
    ("huge", 2, lambda to: once(to, head("GET /v1/status", "X: " + "x" * 60_000))),
    ("unauthorised", 8, lambda to: once(to, head("GET /v1/chain", "Authorization: Bearer wrong-wrong-wrong", "Connection: close"))),
    ("greedy", 4, lambda to: once(to, head("GET /v1/chain", f"Authorization: Bearer {TOKEN}", "Connection: close"))),
    ("searching", 2, lambda to: once(to, head("GET /v1/transactions?step=final&limit=500", f"Authorization: Bearer {TOKEN}", "Connection: close"))),
    ("slow", 8, slow),
    ("endless", 2, endless),
    ("deaf", 4, deaf),
    ("streams", 8, stream),
]


def keep_asking(name, client, address, over):
    while not over.is_set():
        try:
            client(address)
        except OSError:
            pass
        asked[name] = asked.get(name, 0) + 1


class Node:
    """A run that can be watched."""

    def __init__(self, home, *args):
        token = os.path.join(home, "token")
        open(token, "w").write(TOKEN)
        self.process = subprocess.Popen([PROGRAM, "run", "--data-dir", os.path.join(home, "data"), "--api", "127.0.0.1:0", "--api-token-file",
                                         token, "--api-linger", "always", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        host, port = re.search(r"//([\d.]+):(\d+)/", self.hear("watched at")).groups()
        self.address = (host, int(port))

    def hear(self, said):
        while said not in (line := self.process.stderr.readline()):
            assert line, "the node ended early"
        return line

    def spent(self):
        """CPU seconds of everything but the server's thread, and of that."""
        threads = f"/proc/{self.process.pid}/task"
        server = sum(cpu(f"{threads}/{task}/stat") for task in os.listdir(threads) if open(f"{threads}/{task}/comm").read().strip() == "api")
        return cpu(f"/proc/{self.process.pid}/stat") - server, server

    def end(self):
        self.process.send_signal(2)
        return self.process.communicate()[0]


def run(asked_is):
    """A whole run, while `asked_is` is asked: nobody, a neighbour, or the node."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as beside:
        neighbour = Node(beside, "--backend", "mock") if asked_is == "neighbour" else None
        node, over = Node(home, *ARGS), threading.Event()
        address = (neighbour or node).address
        crowd = [threading.Thread(target=keep_asking, args=(name, client, address, over)) for name, count, client in CLIENTS for _ in range(count)]
        began = time.monotonic()
        for client in crowd if asked_is else []:
            client.start()
        node.hear("the run has ended")
        took, (own, server) = time.monotonic() - began, node.spent()
        over.set()
        for client in crowd if asked_is else []:
            client.join()
        if neighbour:
            neighbour.end()
        out = node.end()
        assert "0 violations; health green" in out, out
        print(f"{asked_is or 'nobody'} is asked: {own:.1f} CPU s, the server {server:.1f}, in {took:.0f} s; requests or connections: {sum(asked.values())}")
        asked.clear()
        return own


run(None)
beside, harmed = run("neighbour"), run("node")
print(f"by {sum(count for _, count, _ in CLIENTS)} clients; the node beside the neighbour {harmed / beside:.3f}")
sys.exit(harmed > 1.02 * beside)
