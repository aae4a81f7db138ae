"""Extensions in C, C++ and Rust that allocate by every way there is. Prints the same on any allocator."""

import hashlib
import io
import threading

import lxml.etree
import numpy
import PIL.Image
import PIL.ImageFilter
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def arrays():
    """numpy: its own cache of small blocks, large arrays, arrays of objects."""
    matrix = numpy.arange(90_000, dtype="f8").reshape(300, 300) % 97
    product = matrix @ matrix.T
    objects = numpy.array([{"n": n} for n in range(5000)], dtype=object)
    long = numpy.array([1.25] * 1001, dtype=numpy.longdouble)
    parts = [numpy.ones(n % 300) for n in range(3000)]
    return float(product.sum()), len({o["n"] for o in objects}), float(long.sum()), len(numpy.concatenate(parts))


def documents():
    """lxml: libxml2's trees, by malloc."""
    root = lxml.etree.Element("feed")
    for n in range(3000):
        entry = lxml.etree.SubElement(root, "entry", number=str(n))
        entry.text = "text " * (n % 9)
    text = lxml.etree.tostring(root)
    again = lxml.etree.fromstring(text)
    found = again.xpath("//entry[@number mod 7 = 0]/text()")
    return len(text), len(found), hashlib.sha256(text).hexdigest()[:12]


def images():
    """Pillow: its own arenas, codecs."""
    image = PIL.Image.linear_gradient("L").resize((640, 480)).convert("RGB")
    small = image.filter(PIL.ImageFilter.GaussianBlur(2)).resize((100, 80))
    file = io.BytesIO()
    small.save(file, "PNG")
    back = PIL.Image.open(io.BytesIO(file.getvalue()))
    return back.size, back.mode, list(back.getdata()) == list(small.getdata())


def secrets():
    """cryptography: OpenSSL, and Rust with an allocator of its own."""
    key = AESGCM(b"k" * 32)
    sealed = [key.encrypt(n.to_bytes(12, "big"), b"message" * n, None) for n in range(300)]
    opened = sum(len(key.decrypt(n.to_bytes(12, "big"), s, None)) for n, s in enumerate(sealed))
    private = ec.generate_private_key(ec.SECP256R1())
    private.public_key().verify(private.sign(b"x", ec.ECDSA(hashes.SHA256())), b"x", ec.ECDSA(hashes.SHA256()))
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return opened, private.public_key().public_bytes(*form).count(b"\n")


def main():
    for section in (arrays, documents, images, secrets):
        first = section()
        got = []
        threads = [threading.Thread(target=lambda s=section: got.append(s())) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(section.__name__, first, got == [first] * 3)


if __name__ == "__main__":
    main()
