"""An object store on this machine that checks signatures (moto), and a proxy before it that does what networks and services do.

The proxy asks a `plan` about each request: `plan(request)` gives None to pass it on, or one of the faults below.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
from botocore.config import Config

from . import servers

REGION = "us-east-1"
# Only ends a hang: the server imports for some seconds.
START_SECONDS_MAX = 120
# Requests that make the user, before anything is asked who it is.
FIRST_REQUESTS = 3


class ObjectStore:
    """The server. Everything in it is in its memory."""

    def __init__(self, log):
        self.port = servers.free_port()
        line = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(FIRST_REQUESTS)}
        with open(log, "wb") as output:
            self.process = subprocess.Popen(line, env=environment, stdout=output, stderr=output)
        self.wait_ready()
        self.key = self.make_user()
        self.buckets = 0

    def wait_ready(self):
        end = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/moto-api/data.json", timeout=START_SECONDS_MAX).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, "the object store does not start"
                time.sleep(0.05)

    def client(self, service, key):
        return boto3.client(
            service, endpoint_url=f"http://127.0.0.1:{self.port}", region_name=REGION, aws_access_key_id=key[0],
            aws_secret_access_key=key[1], config=Config(retries={"max_attempts": 1}),
        )

    def make_user(self):
        iam = self.client("iam", ("nobody", "nothing"))
        iam.create_user(UserName="backup")
        made = iam.create_access_key(UserName="backup")["AccessKey"]
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="backup", PolicyName="all", PolicyDocument=json.dumps(everything))
        return made["AccessKeyId"], made["SecretAccessKey"]

    def make_bucket(self):
        self.buckets += 1
        name = f"bucket-{self.buckets}"
        self.client("s3", self.key).create_bucket(Bucket=name)
        return name

    def names(self, bucket):
        found = self.client("s3", self.key).list_objects_v2(Bucket=bucket)
        return sorted(item["Key"] for item in found.get("Contents", []))

    def unfinished(self, bucket):
        """Uploads in parts that are neither finished nor ended."""
        return self.client("s3", self.key).list_multipart_uploads(Bucket=bucket).get("Uploads", [])

    def change(self, bucket, name, change):
        s3 = self.client("s3", self.key)
        body = bytearray(s3.get_object(Bucket=bucket, Key=name)["Body"].read())
        change(body)
        s3.put_object(Bucket=bucket, Key=name, Body=bytes(body))

    def stop(self):
        self.process.terminate()
        self.process.wait(START_SECONDS_MAX)


@dataclass
class Request:
    method: str
    path: str


@dataclass
class Answer:
    """The proxy answers by itself."""

    status: int
    code: str = ""


@dataclass
class Cut:
    """The connection is closed: before the request was passed on, behind the headers of the answer and half of it, or when it was
    done and nothing of the answer was sent."""

    when: str


class Proxy:
    """Passes requests on to a server, or does what the plan says."""

    def __init__(self, port, listen=0):
        self.plan = lambda request: None
        self.faults = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                proxy.handle(self, port)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", listen), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    def handle(self, call, port):
        body = call.rfile.read(int(call.headers.get("Content-Length", 0)))
        fault = self.plan(Request(call.command, call.path))
        self.faults += fault is not None
        if isinstance(fault, Answer):
            text = f"<Error><Code>{fault.code}</Code></Error>".encode() if fault.code else b""
            return self.answer(call, fault.status, [], text)
        if fault == Cut("before"):
            return self.cut(call)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as upstream:
            # With the host that was signed.
            upstream.request(call.command, call.path, body, dict(call.headers))
            reply = upstream.getresponse()
            text = reply.read()
        if fault == Cut("after"):
            return self.cut(call)
        headers = [(name, value) for name, value in reply.getheaders()
                   if name.lower() not in ("connection", "content-length", "date", "server", "transfer-encoding")]
        length = reply.getheader("Content-Length") if call.command == "HEAD" else len(text)
        return self.answer(call, reply.status, [*headers, ("Content-Length", length)],
                           text[:len(text) // 2] if fault == Cut("within") else text, fault == Cut("within"))

    def answer(self, call, status, headers, text, is_cut=False):
        call.send_response(status)
        if not headers:
            headers = [("Content-Length", len(text))]
        for name, value in headers:
            call.send_header(name, str(value))
        call.end_headers()
        if call.command != "HEAD":
            call.wfile.write(text)
        if is_cut:
            self.cut(call)

    def cut(self, call):
        call.close_connection = True
        with contextlib.suppress(OSError):
            call.connection.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Front:
    """The way to a server as a process of its own, which can be killed like any other: what it was doing is cut off."""

    def __init__(self, port):
        self.upstream, self.port, self.process = port, servers.free_port(), None
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        line = [sys.executable, "-m", "harness.objects", str(self.port), str(self.upstream)]
        self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, cwd=Path(__file__).resolve().parents[1])
        end = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, "the way does not open"
                time.sleep(0.02)

    def kill(self):
        self.process.kill()
        self.process.wait()

    stop = kill


if __name__ == "__main__":
    Proxy(int(sys.argv[2]), int(sys.argv[1])).thread.join()
