"""A certificate authority and a server certificate for one test run, made with openssl.

The names are 127.0.0.1 and localhost, because clients check the subject alternative names.
"""

import functools
import ssl
import subprocess
import tempfile
from collections import namedtuple
from pathlib import Path

Files = namedtuple("Files", "authority certificate key client_certificate client_key")


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def signed(folder, name, subject, extension):
    key, request, certificate = (folder / f"{name}.{e}" for e in ("key", "csr", "crt"))
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", request, "-subj", subject)
    options = folder / f"{name}.ext"
    options.write_text(extension)
    openssl("x509", "-req", "-in", request, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", options, "-out", certificate)
    key.chmod(0o600)
    return certificate, key


@functools.cache
def made():
    """The files of this run; made once a process."""
    holder = tempfile.TemporaryDirectory(prefix="tandem-certs-")
    made.holder = holder
    folder = Path(holder.name)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", folder / "ca.key", "-out", folder / "ca.crt", "-subj", "/CN=Tandem test authority",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    server = signed(folder, "server", "/CN=localhost",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    client = signed(folder, "client", "/CN=worker", "extendedKeyUsage=clientAuth\n")
    return Files(folder / "ca.crt", *server, *client)


@functools.cache
def client_context():
    return ssl.create_default_context(cafile=str(made().authority))


@functools.cache
def certified_context():
    """That of a client that shows a certificate."""
    context = ssl.create_default_context(cafile=str(made().authority))
    context.load_cert_chain(made().client_certificate, made().client_key)
    return context
