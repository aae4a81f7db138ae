"""Plays AWS Lambda: an endpoint of its Runtime API, and a function's process that is frozen between invocations.

``runtime_api.py INVOCATIONS COMMAND...`` starts the command with AWS_LAMBDA_RUNTIME_API set, sends it that many events, one after
the other, and stops the process (SIGSTOP) whenever it has asked for the next event: then its resident memory is read. Prints one
JSON document: the responses, and KiB resident after each invocation, the first of them cold.
"""

import http.server
import json
import os
import queue
import signal
import subprocess
import sys
import threading

PREFIX = "/2018-06-01/runtime/"


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    events = queue.Queue()
    # What the function's process did: asked for the next event, or answered one.
    done = queue.Queue()

    def do_GET(self):
        assert self.path == PREFIX + "invocation/next", self.path
        self.done.put(("next", None))
        number = self.events.get()
        body = json.dumps({"number": number}).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "request-%d" % number)
        self.send_header("Lambda-Runtime-Deadline-Ms", "4000000000000")
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:x:0:function:f")
        self.send_header("Lambda-Runtime-Trace-Id", "Root=1-2-3")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        length = self.headers["Content-Length"]
        body = self.rfile.read(int(length)) if length else self.chunks()
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.done.put((self.path[len(PREFIX):].rpartition("/")[2], body.decode()))

    def chunks(self):
        body = b""
        while True:
            size = int(self.rfile.readline(), 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return body

    def log_message(self, *_):
        pass


def resident(pid):
    """KiB resident of a process that stands still."""
    os.kill(pid, signal.SIGSTOP)
    while True:
        with open("/proc/%d/stat" % pid) as file:
            if file.read().rpartition(")")[2].split()[0] in "Tt":
                break
    with open("/proc/%d/smaps_rollup" % pid) as file:
        kib = next(int(line.split()[1]) for line in file if line.startswith("Rss:"))
    os.kill(pid, signal.SIGCONT)
    return kib


def main(invocations, command):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = dict(os.environ, AWS_LAMBDA_RUNTIME_API="127.0.0.1:%d" % server.server_port)
    process = subprocess.Popen(command, env=environment, stdout=sys.stderr)
    threading.Thread(target=lambda: Api.done.put(("ended", process.wait())), daemon=True).start()
    responses, kib = [], []
    try:
        expect("next")
        for number in range(invocations):
            Api.events.put(number)
            responses.append(json.loads(expect("response")))
            expect("next")
            kib.append(resident(process.pid))
    finally:
        process.kill()
    print(json.dumps({"responses": responses, "resident_kib": kib}))


def expect(what):
    got, value = Api.done.get(timeout=120)
    assert got == what, "the function's process: %s %s, instead of %s" % (got, value, what)
    return value


main(int(sys.argv[1]), sys.argv[2:])
