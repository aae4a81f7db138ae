"""Archives a day's log: split by hour, packed by gzip, bzip2 and xz, unpacked again and compared."""
import bz2
import gzip
import io
import lzma
import tarfile
import zlib

import function

SIZES = {"tiny": 120, "small": 1400, "full": 6800}


def log(lines):
    """Access-log lines in the order of time, some 110 bytes each."""
    draw = function.source("log").randrange
    paths = ["/", "/cart", "/item/%d", "/api/v2/search?q=%d", "/static/app.%d.js", "/login"]
    out = []
    for i in range(lines):
        path = paths[draw(6)]
        if "%" in path:
            path %= draw(5000)
        second = i * 86400 // lines
        out.append('10.%d.%d.%d - - [22/Nov/2026:%02d:%02d:%02d +0000] "GET %s HTTP/1.1" %d %d "-" "agent/%d.%d"' % (
            draw(4), draw(256), draw(256), second // 3600, second // 60 % 60, second % 60, path,
            (200, 200, 200, 304, 404, 500)[draw(6)], draw(90000), draw(9), draw(20)))
    return out


def hours(lines):
    """The lines of each hour as bytes."""
    parts = {}
    for line in lines:
        parts.setdefault(line.split("22/Nov/2026:")[1][:2], []).append(line)
    return {hour: ("\n".join(part) + "\n").encode("ascii") for hour, part in parts.items()}


def packed(parts):
    """A gzipped tar file with a member for each hour."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar:
        for hour, data in sorted(parts.items()):
            member = tarfile.TarInfo("log.%s" % hour)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def unpacked(archive):
    """The members' contents."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        return {member.name[4:]: tar.extractfile(member).read() for member in tar}


def handler(event, context):
    """Answers with the checksum of what came out of each archive again."""
    parts = hours(log(SIZES[event["size"]]))
    if unpacked(packed(parts)) != parts:
        raise ValueError("tar changed the log")
    rows = []
    for hour, data in sorted(parts.items()):
        stream = zlib.compressobj(1)
        quick = b"".join([stream.compress(data[i:i + 4096]) for i in range(0, len(data), 4096)] + [stream.flush()])
        if zlib.decompress(quick) != data or gzip.decompress(gzip.compress(data, 9)) != data:
            raise ValueError("hour %s changed" % hour)
        rows.append("%s %d %08x" % (hour, len(data), zlib.crc32(data)))
    noon = parts["12"]
    for codec, options in ((bz2, {"compresslevel": 5}), (lzma, {"preset": 1})):
        rows.append("%08x" % zlib.crc32(codec.decompress(codec.compress(noon, **options))))
    return function.answer("\n".join(rows), lines=sum(map(len, parts.values())))


if __name__ == "__main__":
    function.main("compress_log", SIZES, handler)
