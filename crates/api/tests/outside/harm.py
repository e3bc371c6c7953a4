"""What clients that mean harm cost a node: the CPU seconds of everything but the server's thread, with them and without.

`harm.py PROGRAM [ARGS of run]`: two runs, one after the other. The second is asked all the time, by clients that are malformed, huge, slow,
unauthorised, deaf, and too many. Give a backend that proves (Miden is the default of a build that has it): of the mock there is nothing to
measure.
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


def run(hostile):
    with tempfile.TemporaryDirectory() as home:
        token = os.path.join(home, "token")
        open(token, "w").write(TOKEN)
        node = subprocess.Popen([PROGRAM, "run", "--data-dir", os.path.join(home, "data"), "--api", "127.0.0.1:0", "--api-token-file", token,
                                 "--api-linger", "always", *ARGS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = ""
        while "watched at" not in line:
            line = node.stderr.readline()
        address = re.search(r"//([\d.]+):(\d+)/", line).groups()
        address, over = (address[0], int(address[1])), threading.Event()
        crowd = [threading.Thread(target=keep_asking, args=(name, client, address, over)) for name, count, client in CLIENTS for _ in range(count)]
        began = time.monotonic()
        for client in crowd if hostile else []:
            client.start()
        while "the run has ended" not in line:
            line = node.stderr.readline()
            assert line, "the node ended early"
        took = time.monotonic() - began
        threads = f"/proc/{node.pid}/task"
        server = sum(cpu(f"{threads}/{task}/stat") for task in os.listdir(threads) if open(f"{threads}/{task}/comm").read().strip() == "api")
        whole = cpu(f"/proc/{node.pid}/stat")
        over.set()
        for client in crowd if hostile else []:
            client.join()
        node.send_signal(2)
        out, _ = node.communicate()
        assert "0 violations; health green" in out, out
        return whole - server, server, took


calm, quiet, calm_took = run(False)
harmed, busy, harmed_took = run(True)
print(f"calm: {calm:.1f} CPU s, the server {quiet:.1f}, in {calm_took:.0f} s")
print(f"asked by {sum(count for _, count, _ in CLIENTS)} clients: {harmed:.1f} CPU s, the server {busy:.1f}, in {harmed_took:.0f} s; requests or connections: {asked}")
print(f"ratio {harmed / calm:.3f}")
sys.exit(harmed > 1.02 * calm)
