"""A small web application: ``app.py PORT``. A thread for each connection; the answer follows from the path alone."""

import hashlib
import html
import http.server
import json
import string
import sys
import zlib

ROW = string.Template("<tr><td>$id</td><td>$name</td><td>$amount</td></tr>")


def orders(seed, count):
    return [
        {"id": i, "name": "<customer %d>" % (seed * 31 + i), "amount": (seed + i) * 37 % 1000 / 4, "tags": ["t%d" % (i % 7)] * 3}
        for i in range(count)
    ]


def answer(kind, seed, count):
    rows = json.loads(json.dumps(orders(seed, count)))
    if kind == "page":
        text = "\n".join(ROW.substitute({**row, "name": html.escape(row["name"])}) for row in rows)
    elif kind == "summary":
        by_tag = {}
        for row in rows:
            by_tag.setdefault(row["tags"][0], []).append(row["amount"])
        text = json.dumps({tag: [min(a), max(a), sum(a)] for tag, a in by_tag.items()}, sort_keys=True)
    else:
        packed = zlib.compress(json.dumps(rows).encode())
        text = hashlib.sha256(zlib.decompress(packed)).hexdigest()
    return text.encode()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, seed, count = self.path.strip("/").split("/")
        body = answer(kind, int(seed), int(count))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    # Clients that connect at once are not to be refused.
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
