"""AES-128 in counter mode in plain Python (FIPS 197, SP 800-38A), as a pure-Python cipher package
does it: encrypts a message, decrypts it again, and compares."""
import function

SIZES = {"tiny": 64, "small": 600, "full": 3000}  # blocks of 16 bytes
KEY = bytes(range(16))
COUNTER = 0xF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF


def tables():
    """The S-box, and the four tables that join it with the column mixing."""
    exp, log, value = [0] * 512, [0] * 256, 1
    for i in range(255):
        exp[i] = exp[i + 255] = value
        log[value] = i
        value ^= (value << 1) ^ (0x11B if value & 0x80 else 0)
    sbox = []
    for i in range(256):
        b = exp[255 - log[i]] if i else 0
        s = b ^ (b << 1) ^ (b << 2) ^ (b << 3) ^ (b << 4)
        sbox.append((s ^ (s >> 8)) & 0xFF ^ 0x63)
    mixed = [[], [], [], []]
    for s in sbox:
        twice = (s << 1) ^ (0x11B if s & 0x80 else 0)
        word = twice << 24 | s << 16 | s << 8 | s ^ twice
        for table in mixed:
            table.append(word)
            word = word >> 8 | (word & 0xFF) << 24
    return sbox, mixed


def schedule(key, sbox):
    """The 44 round-key words."""
    words, constant = [int.from_bytes(key[i:i + 4], "big") for i in range(0, 16, 4)], 1
    for i in range(4, 44):
        word = words[-1]
        if i % 4 == 0:
            word = (word << 8 | word >> 24) & 0xFFFFFFFF
            word = (sbox[word >> 24] << 24 | sbox[word >> 16 & 255] << 16
                    | sbox[word >> 8 & 255] << 8 | sbox[word & 255]) ^ constant << 24
            constant = constant << 1 ^ (0x11B if constant & 0x80 else 0)
        words.append(words[i - 4] ^ word)
    return words


def block(counter, keys, sbox, mixed):
    """One encrypted block."""
    t0, t1, t2, t3 = mixed
    a, b, c, d = (counter >> shift & 0xFFFFFFFF for shift in (96, 64, 32, 0))
    a, b, c, d = a ^ keys[0], b ^ keys[1], c ^ keys[2], d ^ keys[3]
    for i in range(4, 40, 4):
        a, b, c, d = (
            t0[a >> 24] ^ t1[b >> 16 & 255] ^ t2[c >> 8 & 255] ^ t3[d & 255] ^ keys[i],
            t0[b >> 24] ^ t1[c >> 16 & 255] ^ t2[d >> 8 & 255] ^ t3[a & 255] ^ keys[i + 1],
            t0[c >> 24] ^ t1[d >> 16 & 255] ^ t2[a >> 8 & 255] ^ t3[b & 255] ^ keys[i + 2],
            t0[d >> 24] ^ t1[a >> 16 & 255] ^ t2[b >> 8 & 255] ^ t3[c & 255] ^ keys[i + 3],
        )
    out = 0
    for w, x, y, z, key in ((a, b, c, d, keys[40]), (b, c, d, a, keys[41]),
                            (c, d, a, b, keys[42]), (d, a, b, c, keys[43])):
        last = sbox[w >> 24] << 24 | sbox[x >> 16 & 255] << 16 | sbox[y >> 8 & 255] << 8 | sbox[z & 255]
        out = out << 32 | last ^ key
    return out.to_bytes(16, "big")


def crypt(message, key, counter):
    """Encrypts or decrypts, which is the same in this mode."""
    sbox, mixed = tables()
    keys = schedule(key, sbox)
    out = bytearray()
    for i in range(0, len(message), 16):
        stream = block((counter + i // 16) % (1 << 128), keys, sbox, mixed)
        out += bytes(x ^ y for x, y in zip(message[i:i + 16], stream))
    return bytes(out)


def handler(event, context):
    """Answers with the ciphertext's checksum."""
    size = 16 * SIZES[event["size"]] - 5  # the last block is not full
    message = function.source("message").getrandbits(8 * size).to_bytes(size, "big")
    secret = crypt(message, KEY, COUNTER)
    if crypt(secret, KEY, COUNTER) != message:
        raise ValueError("the message does not come back")
    return function.answer(secret)


if __name__ == "__main__":
    function.main("aes_ctr", SIZES, handler)
