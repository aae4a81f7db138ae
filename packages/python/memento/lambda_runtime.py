"""Runs a Lambda runtime's own start-up, and gives free memory back after each response.

For `memento-wrapper`: ``python -m memento.lambda_runtime`` in front of what Lambda would have started. The
runtime's client posts responses through the module ``runtime_client``; its functions that do are replaced, once the
module is imported, by ones that call `memento.invocation_end` afterwards. The process may be frozen from the moment
of the response on, so that nothing can be given back later.
"""

import importlib.abc
import importlib.util
import runpy
import sys

import memento

CLIENT = "runtime_client"
POSTS = ("post_invocation_result", "post_error")


def hook(client):
    """Replaces the client's functions that end an invocation."""
    for name in POSTS:
        post = getattr(client, name, None)
        if post is not None:
            setattr(client, name, _then_give_back(post))


def _then_give_back(post):
    def posted(*words, **named):
        try:
            return post(*words, **named)
        finally:
            memento.invocation_end()

    return posted


class _Finder(importlib.abc.MetaPathFinder):
    """Hooks the client when it is imported, wherever it lies."""

    def find_spec(self, name, path, target=None):
        if name != CLIENT:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                run(module)
                hook(module)

            spec.loader.exec_module = exec_module
        return spec


def main(words):
    """Goes on as ``python WORDS`` would have."""
    sys.meta_path.insert(0, _Finder())
    options = []
    while words and words[0].startswith("-") and words[0] not in ("-m", "-c"):
        options.append(words.pop(0))
    if words[:1] == ["-m"]:
        sys.argv = words[1:]
        # As `python -m` has it.
        sys.path[0] = ""
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words:
        sys.argv = words
        sys.path[0] = words[0].rpartition("/")[0]
        runpy.run_path(words[0], run_name="__main__")
    else:
        sys.exit("usage: python -m memento.lambda_runtime (SCRIPT | -m MODULE) [ARGUMENT...]")


if __name__ == "__main__":
    main(sys.argv[1:])
