"""A web shop's load on store.cpp, pipelined; every reply is checked: store_load.py SOCKET COUNT."""
import socket
import sys

BATCH = 64


def encode(words):
    """A command in Redis's protocol."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def bulk(data):
    """A reply of one string."""
    return b"$-1\r\n" if data is None else b"$%d\r\n%s\r\n" % (len(data), data)


def load(count):
    """Commands with their replies: sessions, a cart for each, a queue of mails, a ranking of articles."""
    state = 2463534242
    sessions, ranking, queue = {}, {}, []

    def draw(bound):
        nonlocal state
        state ^= state << 13 & 0xffffffff
        state ^= state >> 17
        state ^= state << 5 & 0xffffffff
        return state % bound

    for i in range(count):
        user = draw(count // 4 + 1)
        key, data = "session:%d" % user, b"%d." % i * (2 + draw(60))
        yield ("SET", key, data), b"+OK\r\n"
        sessions[user] = data
        field = b"sku-%d" % draw(30)
        cart = "cart:%d:%d" % (user, i)
        yield ("HSET", cart, field, data[:9]), b":1\r\n"
        yield ("HGET", cart, field), bulk(data[:9])
        mail = b"mail to %d about %s" % (user, field)
        queue.append(mail)
        yield ("RPUSH", "queue", mail), b":%d\r\n" % len(queue)
        if len(queue) > 40:
            yield ("LPOP", "queue"), bulk(queue.pop(0))
        member = "article-%d" % draw(200)
        yield ("ZADD", "ranking", draw(1000), member), b":%d\r\n" % (member not in ranking)
        ranking[member] = True
        other = draw(count // 4 + 1)
        yield ("GET", "session:%d" % other), bulk(sessions.get(other))
        if i % 5 == 0:
            yield ("DEL", key), b":1\r\n"
            del sessions[user]
        if i % 3 == 0:
            yield ("DEL", cart), b":1\r\n"


def main():
    """Sends batches, compares what comes back, and ends the server."""
    path, count = sys.argv[1], int(sys.argv[2])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    file = connection.makefile("rb")

    def send(batch):
        connection.sendall(b"".join(encode(words) for words, _ in batch))
        for words, want in batch:
            got = file.read(len(want))
            assert got == want, (words, got, want)

    batch = []
    for pair in load(count):
        batch.append(pair)
        if len(batch) == BATCH:
            send(batch)
            batch = []
    send(batch)
    connection.sendall(encode(("SHUTDOWN",)))
    file.read()


main()
