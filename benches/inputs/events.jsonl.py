"""Orders as a shop's event stream has them, one JSON document a line: for jq."""
import json
import random

draw = random.Random("events")
WORDS = "alpha beta gamma delta east west north south".split()
for number in range(9000):
    print(json.dumps({
        "id": number,
        "user": {"name": f"user{draw.randrange(5000)}", "country": draw.choice(WORDS),
                 "tags": [draw.choice(WORDS) for _ in range(draw.randrange(6))]},
        "lines": [{"sku": f"P-{draw.randrange(900):05d}", "quantity": 1 + draw.randrange(5),
                   "price": draw.randrange(20000) / 100} for _ in range(1 + draw.randrange(5))],
        "note": None if draw.randrange(3) else f"leave at the door, flat {draw.randrange(80)}"}))
