"""A function as a serverless platform runs it: parse a JSON event, join and group it, answer in JSON.

    json_function.py EVENT.json [INVOCATIONS]

The event is the output of `cargo metadata`: packages, their licences, features and dependencies.
"""
import json
import sys
from collections import defaultdict


def handler(body):
    event = json.loads(body)
    packages = {package["id"]: package for package in event["packages"]}
    by_licence = defaultdict(list)
    for package in packages.values():
        by_licence[package.get("license") or "none"].append(package["name"])
    dependants = defaultdict(set)
    for node in event["resolve"]["nodes"]:
        for dependency in node["deps"]:
            dependants[dependency["pkg"]].add(packages[node["id"]]["name"])
    heaviest = sorted(packages, key=lambda i: (-len(packages[i]["features"]), i))[:5]
    answer = {
        "packages": len(packages),
        "targets": sum(len(package["targets"]) for package in packages.values()),
        "licences": {licence: sorted(names) for licence, names in sorted(by_licence.items())},
        "most_used": sorted(((len(who), packages[i]["name"]) for i, who in dependants.items()), reverse=True)[:5],
        "most_features": [(packages[i]["name"], len(packages[i]["features"])) for i in heaviest],
    }
    return json.dumps(answer, indent=1)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        body = file.read()
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        answer = handler(body)
    print(answer)


main()
