# A function that leaves nothing behind but what its allocator keeps.
import ctypes
import json


def handler(event, context):
    rows = [{"id": i, "text": "row %d" % i} for i in range(60000)]
    rows = json.loads(json.dumps(rows))
    total = sum(len(row["text"]) for row in rows) + event["number"]
    return {"total": total, "served": hasattr(ctypes.CDLL(None), "memento_stats_json")}
