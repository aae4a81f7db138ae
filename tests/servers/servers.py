"""The servers, how each is started, and what real clients do to them.

A server answers `start` with the command that runs it in the foreground, `load` with the commands of one round of requests, each
with what its output must and must not have, and `answers` with what it says in a conversation that always goes the same way.
"""

import glob
import hashlib
import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import sys

# Seconds after which a client counts as hung.
HUNG = 170

HERE = pathlib.Path(__file__).resolve().parent


class Side:
    """One instance of a server: its directory, its port on this machine, and the environment it runs in."""

    def __init__(self, directory, port, environment):
        self.directory = directory
        self.port = port
        self.environment = environment

    def path(self, name):
        return str(self.directory / name)

    def write(self, name, content):
        """A file in the directory, which servers may read that do not run as this user."""
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o644)
        return str(path)


def digest(parts):
    """One line for all that was said."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else part.encode())
    return found.hexdigest()


def said(command, **options):
    """A client's output; its failure is an error."""
    done = subprocess.run(command, timeout=HUNG, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError("%s: exit %d: %s" % (command, done.returncode, done.stdout.decode(errors="replace")[-2000:]))
    return done.stdout.decode(errors="replace")


class Server:
    """What all of them have in common."""

    name = ""
    # What `start` and `load` need to be installed.
    programs = ()
    # The user that it runs as if root starts it; itself, if none.
    user = None
    # Ends it in an orderly way.
    stop_signal = "SIGTERM"
    # Requests of a round in the long form, and in the short one.
    requests = (0, 0)

    def obstacle(self):
        """Why it cannot be run here; None if it can."""
        missing = [program for program in self.programs if not shutil.which(program)]
        return "%s is missing" % ", ".join(missing) if missing else None

    def prepare(self, side):
        """What comes before the start, without the shim."""

    def start(self, side):
        raise NotImplementedError

    def load(self, side, requests):
        raise NotImplementedError

    def answers(self, side):
        raise NotImplementedError


class Redis(Server):
    name = "redis"
    programs = ("redis-server", "redis-benchmark", "redis-cli")
    requests = (60000, 4000)
    keyed = ("set,get,incr,sadd,hset,spop,zadd,zpopmin,mset", "set,get,hset,zadd,sadd")
    lists = ("lpush,rpush,lpop,lrange_100", "lrange_100")

    def start(self, side):
        # Bounded, so that its memory can level off: what is used least is evicted.
        return ["redis-server", "--bind", "127.0.0.1", "--port", str(side.port), "--save", "", "--appendonly", "no",
                "--dir", str(side.directory), "--maxmemory", "48mb", "--maxmemory-policy", "allkeys-lru"]

    def load(self, side, requests):
        to = ["-h", "127.0.0.1", "-p", str(side.port)]
        clients = ["redis-benchmark", *to, "-q", "-P", "8", "-c", "16"]
        short = requests < 10000
        for size, keys in (40, 200000), (700, 60000):
            values = ["-d", str(size), "-r", str(keys)]
            yield [*clients, *values, "-n", str(requests), "-t", self.keyed[short]], "requests per second", "rror"
            # One list, short enough that it is never evicted: without it half of the work would be missing, by chance.
            yield ["redis-cli", *to, "DEL", "mylist"], "", "ERR"
            yield [*clients, *values, "-n", str(requests * 40 // size), "-t", self.lists[short]], "requests per second", "rror"

    def answers(self, side):
        lines = ["DEL s h z l n"]
        for i in range(400):
            lines += ["SET k:%d %s" % (i % 50, "v%d" % i * (1 + i % 90)), "HSET h f%d %d" % (i % 70, i), "ZADD z %d m%d" % (i * 7 % 31, i),
                      "RPUSH l %s" % ("x%d" % i * (i % 9 + 1)), "INCR n", "SADD s %d" % (i % 77), "APPEND k:%d %d" % (i % 13, i)]
        lines += ["GET k:%d" % i for i in range(50)]
        lines += ["HGETALL h", "ZRANGE z 0 -1 WITHSCORES", "LRANGE l 0 -1", "GET n", "SORT s", "SORT l ALPHA LIMIT 0 20", "DEL s h z l n"]
        script = "\n".join(lines) + "\n"
        return digest([said(["redis-cli", "-h", "127.0.0.1", "-p", str(side.port)], input=script.encode())])


class Memcached(Server):
    name = "memcached"
    programs = ("memcached", "memcaslap")
    requests = (150000, 8000)

    def prepare(self, side):
        side.write("sizes", "key\n16 60 1\nvalue\n20 200 0.6\n200 2000 0.3\n2000 30000 0.1\ncmd\n0 0.4\n1 0.6\n")

    def start(self, side):
        root = ["-u", "root"] if os.geteuid() == 0 else []
        return ["memcached", *root, "-l", "127.0.0.1", "-p", str(side.port), "-U", "0", "-m", "48", "-t", "2"]

    def load(self, side, requests):
        # It keeps what it stored, and compares a tenth of what it gets back.
        yield (["memcaslap", "-s", "127.0.0.1:%d" % side.port, "-T", "1", "-c", "16", "-x", str(requests), "-v", "0.1",
                "-F", side.path("sizes")], "verify_failed: 0", None)

    def answers(self, side):
        heard = []
        with socket.create_connection(("127.0.0.1", side.port)) as connection, connection.makefile("rwb") as file:
            for i in range(600):
                value = (b"%d." % i) * (1 + i * 7919 % 900)
                key = b"check%d" % (i % 40)
                for line in (b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), b"append %s 0 0 3\r\nend\r\n" % key, b"touch %s 900\r\n" % key):
                    file.write(line)
                    file.flush()
                    heard.append(file.readline())
                file.write(b"get %s\r\n" % key)
                file.flush()
                while not heard[-1].startswith(b"END"):
                    heard.append(file.readline())
        return digest(heard)


class Http(Server):
    """Servers that `ab` loads."""

    programs = ("ab",)
    # Paths that are asked for, with the share of requests, and options of `ab`.
    paths = ()

    def load(self, side, requests):
        for path, share, options in self.paths:
            url = "http://127.0.0.1:%d%s" % (side.port, path)
            count = max(16, int(requests * share))
            yield ["ab", "-q", "-r", "-s", "120", "-c", "8", "-n", str(count), *options, url], "Failed requests:        0", "Non-2xx"

    def answers(self, side):
        heard = []
        connection = http.client.HTTPConnection("127.0.0.1", side.port, timeout=60)
        for path in self.asked():
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            response = connection.getresponse()
            heard += ["%s %d " % (path, response.status), response.read()]
        return digest(heard)

    def asked(self):
        return [path for path, _, _ in self.paths]


class Nginx(Http):
    name = "nginx"
    programs = ("nginx", "ab")
    stop_signal = "SIGQUIT"
    requests = (40000, 1500)
    paths = (
        ("/page.html", 0.3, ("-k", "-H", "Accept-Encoding: gzip")),
        ("/page.html", 0.3, ()),
        ("/behind/page.html", 0.3, ("-k", "-H", "Accept-Encoding: gzip")),
        ("/data.bin", 0.05, ("-k",)),
        ("/behind/data.bin", 0.05, ("-k",)),
    )

    def prepare(self, side):
        side.write("page.html", "".join("<p>Line %d of a page that is compressed.</p>\n" % i for i in range(600)))
        side.write("data.bin", bytes(i * i % 251 for i in range(1 << 19)))
        temporary = "".join("%s_temp_path %s;\n" % (kind, side.path(kind)) for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        side.write("nginx.conf", """
daemon off; worker_processes 2; pid %(d)s/pid; error_log stderr error; %(user)s
events { worker_connections 256; }
http {
    access_log off; %(temporary)s
    types { text/html html; }
    gzip on; gzip_types text/html;
    upstream files { server unix:%(d)s/files.sock; keepalive 8; }
    server { listen unix:%(d)s/files.sock; root %(d)s; }
    server {
        listen 127.0.0.1:%(port)d; root %(d)s;
        location /behind/ { proxy_pass http://files/; proxy_http_version 1.1; proxy_set_header Connection ""; }
    }
}
""" % {"d": side.directory, "port": side.port, "temporary": temporary, "user": "user root;" if os.geteuid() == 0 else ""})

    def start(self, side):
        return ["nginx", "-p", str(side.directory), "-c", side.path("nginx.conf"), "-e", "stderr"]


APPLICATION = (("/page/3/300", 0.4, ("-k",)), ("/summary/5/400", 0.3, ()), ("/packed/7/500", 0.3, ()))


class Python(Http):
    name = "python"
    stop_signal = "SIGKILL"
    requests = (1500, 150)
    paths = APPLICATION

    def start(self, side):
        return [os.path.realpath(sys.executable), str(HERE / "app.py"), str(side.port)]

    def asked(self):
        return ["/%s/%d/%d" % (kind, i, 50 + 37 * i) for i in range(8) for kind in ("page", "summary", "packed")]


class Node(Python):
    name = "node"
    programs = ("node", "ab")
    requests = (12000, 1200)

    def start(self, side):
        return ["node", str(HERE / "app.js"), str(side.port)]


def postgres(program):
    """A program of the newest PostgreSQL; Debian keeps the server's out of the search path."""
    installed = sorted(glob.glob("/usr/lib/postgresql/*/bin/" + program), key=lambda path: int(path.split("/")[4]))
    return installed[-1] if installed else shutil.which(program)


QUERIES = """
select md5(string_agg(md5(i::text), ',' order by i desc)) from generate_series(1, 30000) i;
select k, count(*), sum(v), min(t), max(t) from (select i % 97 k, i * 31 % 1009 v, repeat(i::text, i % 9) t from generate_series(1, 20000) i) r
  group by k order by k;
select md5(json_agg(r)::text) from (select a.aid, b.bid, b.bbalance * 0 z from pgbench_accounts a join pgbench_branches b using (bid)
  where a.aid <= 5000 order by a.aid) r;
select count(distinct regexp_replace(md5(i::text), '[a-f]+', '-', 'g')) from generate_series(1, 10000) i;
select sum(abalance), count(*) from pgbench_accounts;
select sum(delta), count(*) from pgbench_history;
select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history),
  (select sum(tbalance) from pgbench_tellers) = (select sum(bbalance) from pgbench_branches);
"""


class Postgres(Server):
    name = "postgresql"
    user = "postgres"
    stop_signal = "SIGINT"
    requests = (2400, 100)

    def obstacle(self):
        if not all(map(postgres, ("postgres", "initdb", "psql", "pgbench"))):
            return "it is not installed"
        # It refuses to be root; and some containers keep this from everybody else.
        if os.geteuid() == 0 and subprocess.run(["sh", "-c", ": > /dev/null"], stderr=subprocess.PIPE, user=self.user, check=False).returncode:
            return "its user may not write to /dev/null"
        return None

    def client(self, side, program):
        return [postgres(program), "-h", str(side.directory), "-p", str(side.port), "-U", "postgres"]

    def prepare(self, side):
        user = {"user": self.user} if os.geteuid() == 0 else {}
        if user:
            shutil.chown(side.directory, self.user)
        said([postgres("initdb"), "-D", side.path("data"), "-U", "postgres", "-A", "trust", "-N", "--no-locale"], cwd=side.directory, **user)
        side.write("report.sql", "\\set a random(1, 90000)\nselect bid, count(*), string_agg(left(md5(aid::text), 4), ',' order by abalance, aid) "
                   "from pgbench_accounts where aid between :a and :a + 500 group by bid;\n")
        side.fresh = True

    def start(self, side):
        return [postgres("postgres"), "-D", side.path("data"), "-h", "127.0.0.1", "-p", str(side.port), "-k", str(side.directory),
                "-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "autovacuum=off", "-c", "max_wal_size=64MB"]

    def load(self, side, requests):
        bench = [*self.client(side, "pgbench"), "--no-vacuum", "--random-seed=7"]
        # As with one client after the other, whatever the order: the same accounts and the same sums.
        done = "number of transactions actually processed: "
        each = requests // 4
        yield [*bench, "-c", "4", "-t", str(each), "postgres"], done + "%d/" % (4 * each), "failed transactions: [1-9]"
        yield ([*bench, "-c", "4", "-t", str(each), "-f", side.path("report.sql"), "postgres"], done + "%d/" % (4 * each), None)
        # A process of the server's for each transaction.
        yield [*bench, "-C", "-S", "-c", "2", "-t", str(each // 4), "postgres"], done, None

    def answers(self, side):
        if side.fresh:
            said([*self.client(side, "pgbench"), "-i", "-q", "-s", "1", "postgres"])
            side.fresh = False
        return digest([said([*self.client(side, "psql"), "-X", "-A", "-q", "-v", "ON_ERROR_STOP=1", "postgres"], input=QUERIES.encode())])


ALL = (Redis(), Memcached(), Nginx(), Postgres(), Python(), Node())
