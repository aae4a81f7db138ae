"""Sets, gets and deletes on a Memcached server, checks each answer, and ends it: memcached_load.py SOCKET COUNT."""
import socket
import sys


def main():
    """Speaks the text protocol; the server must have been started with -A, which lets it be shut down."""
    path, count = sys.argv[1], int(sys.argv[2])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    file = connection.makefile("rwb")

    def ask(line, value=None):
        file.write(line.encode() + b"\r\n")
        if value is not None:
            file.write(value + b"\r\n")
        file.flush()
        return file.readline()

    def value(i):
        return b"%d." % i * (3 + i * 7919 % 90)

    for i in range(count):
        key = "key%d" % (i * 31 % (count // 2 + 1))
        data = value(i)
        assert ask("set %s 0 0 %d" % (key, len(data)), data) == b"STORED\r\n"
        head = ask("get " + key)
        assert head == b"VALUE %s 0 %d\r\n" % (key.encode(), len(data)), head
        assert file.readline() == data + b"\r\n" and file.readline() == b"END\r\n"
        if i % 3 == 0:
            assert ask("delete " + key) == b"DELETED\r\n"
    file.write(b"shutdown\r\n")
    file.flush()
    file.readline()


main()
