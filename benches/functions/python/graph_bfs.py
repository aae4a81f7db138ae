"""Breadth-first searches over a social graph: distances, shortest-path trees, components."""
from collections import deque

import function

SIZES = {"tiny": 200, "small": 3000, "full": 12500}


def graph(nodes):
    """Adjacency by name: each member follows some four others, mostly earlier ones, so that a few
    have many neighbours; every 50th follows nobody."""
    draw = function.source("graph").randrange
    adjacent = {"member-%d" % i: [] for i in range(nodes)}
    names = list(adjacent)
    for i in range(1, nodes):
        if i % 50 == 0:
            continue
        for _ in range(1 + draw(4)):
            a, b = names[i], names[draw(1 + draw(i))]
            adjacent[a].append(b)
            adjacent[b].append(a)
    return adjacent


def search(adjacent, start):
    """Distance and predecessor of everyone who can be reached."""
    seen = {start: (0, None)}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        distance = seen[node][0] + 1
        for other in adjacent[node]:
            if other not in seen:
                seen[other] = (distance, node)
                queue.append(other)
    return seen


def path(seen, node):
    """The way back to where the search began."""
    steps = []
    while node is not None:
        steps.append(node)
        node = seen[node][1]
    return steps


def handler(event, context):
    """Answers with the checksum of all components and of the longest way in each."""
    adjacent = graph(SIZES[event["size"]])
    rows, left = [], dict.fromkeys(adjacent)
    while left:
        seen = search(adjacent, next(iter(left)))
        far = max(seen, key=lambda node: seen[node][0])
        back = search(adjacent, far)
        end = max(back, key=lambda node: back[node][0])
        histogram = {}
        for distance, _ in back.values():
            histogram[distance] = histogram.get(distance, 0) + 1
        rows.append("%d %s %s" % (len(seen), ">".join(path(back, end)), sorted(histogram.items())))
        for node in seen:
            del left[node]
    return function.answer("\n".join(rows), components=len(rows))


if __name__ == "__main__":
    function.main("graph_bfs", SIZES, handler)
