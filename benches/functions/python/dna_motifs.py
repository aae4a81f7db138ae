"""Sequence work: FASTA in; k-mers, open reading frames, proteins and GC content out."""
import function

SIZES = {"tiny": 2, "small": 6, "full": 32}  # records of about 1200 bases
BASES = "ACGT"
K = 9
AMINO = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODONS = {a + b + c: AMINO[16 * i + 4 * j + k]
          for i, a in enumerate("TCAG") for j, b in enumerate("TCAG") for k, c in enumerate("TCAG")}
DRAWN = BASES.encode("ascii") * 64  # what each random byte stands for
COMPLEMENT = str.maketrans(BASES, "TGCA")


def fasta(records):
    """The text of a FASTA file, 60 bases a line, with repeats, as genomes have them."""
    source = function.source("genome")
    draw = source.randrange
    motif = "".join(source.choice(BASES) for _ in range(90))
    texts = []
    for i in range(records):
        pieces = []
        for _ in range(10):
            pieces.append(source.getrandbits(8 * 100).to_bytes(100, "big").translate(DRAWN).decode("ascii"))
            if draw(4) == 0:
                cut = draw(60)
                pieces.append(motif[cut:cut + 30])
        bases = "".join(pieces)
        lines = [bases[n:n + 60] for n in range(0, len(bases), 60)]
        texts.append(">record%d sample=%d\n%s\n" % (i, draw(10 ** 6), "\n".join(lines)))
    return "".join(texts)


def parsed(text):
    """Name and bases of each record."""
    for record in text.split(">")[1:]:
        header, *lines = record.splitlines()
        yield header.split()[0], "".join(lines)


def longest_frame(bases):
    """The longest protein from a start codon to a stop, in all six frames."""
    best = ""
    for strand in (bases, bases.translate(COMPLEMENT)[::-1]):
        for frame in range(3):
            protein = "".join([CODONS[strand[i:i + 3]] for i in range(frame, len(strand) - 2, 3)])
            for part in protein.split("*")[:-1]:
                start = part.find("M")
                if start >= 0 and len(part) - start > len(best):
                    best = part[start:]
    return best


def handler(event, context):
    """Answers with the checksum of the report: proteins, GC content, frequent k-mers."""
    rows, counts = [], {}
    for name, bases in parsed(fasta(SIZES[event["size"]])):
        for i in range(len(bases) - K + 1):
            word = bases[i:i + K]
            counts[word] = counts.get(word, 0) + 1
        windows = [bases[i:i + 100] for i in range(0, len(bases), 50)]
        content = [window.count("G") + window.count("C") for window in windows]
        rows.append("%s %s %s" % (name, longest_frame(bases), content))
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:50]
    rows += ["%s %d" % item for item in frequent]
    return function.answer("\n".join(rows), words=len(counts))


if __name__ == "__main__":
    function.main("dna_motifs", SIZES, handler)
