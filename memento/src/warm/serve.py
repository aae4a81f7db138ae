"""Serves a handler over the Lambda Runtime API: python3 serve.py FILE FUNCTION."""
import ctypes
import http.client
import importlib.util
import json
import os
import sys
import traceback

PATH = "/2018-06-01/runtime/"


class Context:
    """What a handler gets as its second argument."""

    def __init__(self, request_id):
        self.aws_request_id = request_id
        self.function_name = "function"
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")

    def get_remaining_time_in_millis(self):
        """Far away: the limit is the tool's."""
        return 60000


def post(connection, path, answer):
    """Sends an answer as JSON."""
    connection.request("POST", PATH + path, json.dumps(answer).encode())
    connection.getresponse().read()


def failure(error):
    """An exception as the interface wants it."""
    return {"errorMessage": str(error), "errorType": type(error).__name__,
            "stackTrace": traceback.format_exc().splitlines()}


def main():
    """Invokes the handler for every event until it is stopped."""
    file, name = sys.argv[1:]
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        sys.path.insert(0, os.path.dirname(os.path.abspath(file)))
        spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(file))[0], file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        handler = getattr(module, name)
    except Exception as error:
        post(connection, "init/error", failure(error))
        sys.exit(1)
    # What the invocation left is given back after its response, if the allocator can do so.
    invocation_end = getattr(ctypes.CDLL(None), "memento_invocation_end", None)
    while True:
        connection.request("GET", PATH + "invocation/next")
        response = connection.getresponse()
        request_id = response.getheader("Lambda-Runtime-Aws-Request-Id")
        event = json.loads(response.read())
        try:
            answer = handler(event, Context(request_id))
            path = "invocation/%s/response" % request_id
        except Exception as error:
            answer, path = failure(error), "invocation/%s/error" % request_id
        post(connection, path, answer)
        event = answer = None
        if invocation_end:
            invocation_end()


main()
