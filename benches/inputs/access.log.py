"""An access log of a web server."""
import random

draw = random.Random("log")
PATHS = [f"/{a}/{b}" for a in ("shop", "blog", "api/v1", "static") for b in ("item", "list", "user", "cart")]
for i in range(25000):
    address = f"10.{draw.randrange(256)}.{draw.randrange(256)}.{draw.randrange(20)}"
    when = f"22/Nov/2026:{i // 1700 % 24:02d}:{i // 28 % 60:02d}:{i % 60:02d} +0000"
    path = f"{draw.choice(PATHS)}?id={draw.randrange(4000)}&ref=campaign{draw.randrange(50)}"
    status = draw.choice([200, 200, 200, 304, 404, 500])
    print(f'{address} - - [{when}] "GET {path} HTTP/1.1" {status} {draw.randrange(60000)} "-" "Agent/{draw.randrange(9)}.0"')
