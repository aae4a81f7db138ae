"""``python -m memento run script.py …``: runs a script, a module or a program with memento preloaded."""

import os
import sys

import memento

USAGE = """usage: python -m memento run SCRIPT.py [ARGUMENT...]
       python -m memento run -m MODULE [ARGUMENT...]
       python -m memento run -- PROGRAM [ARGUMENT...]
       python -m memento env"""


def main(words):
    if words[:1] == ["env"] and len(words) == 1:
        print("LD_PRELOAD=" + memento.environment()["LD_PRELOAD"])
        return 0
    if words[:1] == ["run"] and len(words) > 1:
        command = words[2:] if words[1] == "--" else [sys.executable, *words[1:]]
        if command:
            sys.stdout.flush()
            try:
                os.execvpe(command[0], command, memento.environment())
            except OSError as error:
                print("memento: %s: %s" % (command[0], error.strerror), file=sys.stderr)
                return 127 if isinstance(error, FileNotFoundError) else 126
    print(USAGE, file=sys.stderr)
    return 125


sys.exit(main(sys.argv[1:]))
