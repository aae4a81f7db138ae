"""Makes a thumbnail of a photo: contrast stretched, scaled down, sharpened, and edges found.

Plain Python over bytes and arrays, as where no imaging package is installed. Integers only, so that
the picture is the same everywhere.
"""
from array import array

import function

SIZES = {"tiny": (48, 32), "small": (160, 120), "full": (352, 264)}
SCALE = 2


def photo(width, height):
    """Rows of RGB bytes: a gradient with shapes and noise."""
    source = function.source("photo")
    rows = []
    for y in range(height):
        noise = source.getrandbits(8 * width).to_bytes(width, "big")
        row = bytearray()
        for x in range(width):
            shape = 60 if (x * 7 // width + y * 5 // height) % 2 else 0
            row += bytes((40 + x * 120 // width + shape, 50 + y * 120 // height, 30 + shape + noise[x] // 8))
        rows.append(bytes(row))
    return rows


def stretched(rows):
    """Each channel spread over all values, but for the darkest and brightest hundredth."""
    pixels = len(rows) * len(rows[0]) // 3
    channels = []
    for channel in range(3):
        counts = array("l", [0]) * 256
        for row in rows:
            for value in row[channel::3]:
                counts[value] += 1
        below, low, high = 0, None, 255
        for value, count in enumerate(counts):
            below += count
            if low is None and below > pixels // 100:
                low = value
            if below >= pixels - pixels // 100:
                high = value
                break
        span = max(1, high - low)
        table = bytes(min(255, max(0, (value - low) * 255 // span)) for value in range(256))
        channels.append([row[channel::3].translate(table) for row in rows])
    return channels


def scaled(rows):
    """A channel, scaled down by averaging squares of pixels."""
    out = []
    for y in range(0, len(rows) - SCALE + 1, SCALE):
        sums = [0] * (len(rows[0]) // SCALE)
        for row in rows[y:y + SCALE]:
            for shift in range(SCALE):
                sums = [a + b for a, b in zip(sums, row[shift::SCALE])]
        out.append(array("B", [value // (SCALE * SCALE) for value in sums]))
    return out


def sharpened(rows):
    """A channel, each pixel moved away from the mean of its four neighbours."""
    out = [rows[0]]
    for above, row, below in zip(rows, rows[1:], rows[2:]):
        middle = [
            min(255, max(0, 2 * x - (n + s + w + e) // 4))
            for n, s, w, x, e in zip(above[1:], below[1:], row, row[1:], row[2:])
        ]
        out.append(array("B", [row[0]] + middle + [row[-1]]))
    return out + [rows[-1]]


def edges(rows):
    """Number of edge pixels by row."""
    return [
        sum(abs(e - w) + abs(s - row[i]) > 96 for i, (w, e, s) in enumerate(zip(row, row[2:], below)))
        for row, below in zip(rows, rows[1:])
    ]


def handler(event, context):
    """Answers with the checksum of the thumbnail as a PPM file and of the edge counts."""
    channels = [sharpened(scaled(channel)) for channel in stretched(photo(*SIZES[event["size"]]))]
    height, width = len(channels[0]), len(channels[0][0])
    picture = bytearray(b"P6 %d %d 255\n" % (width, height))
    for lines in zip(*channels):
        row = bytearray(3 * width)
        for channel, line in enumerate(lines):
            row[channel::3] = line.tobytes()
        picture += row
    counts = edges(channels[0])
    return function.answer(bytes(picture) + repr(counts).encode(), width=width, height=height)


if __name__ == "__main__":
    function.main("image_thumbnail", SIZES, handler)
