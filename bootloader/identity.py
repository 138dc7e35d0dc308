"""A key of this device's own and its certificate, made where none has ever been, with no cryptography package.

Owns how they are made: by the OpenSSL that Python's own ``ssl`` has loaded, and where that can't be called, by the
command ``openssl``. Knows nothing of where they lie. The form is the one that hosts give theirs (``reactor.trust``): a
P-256 key, self-signed, no authority, for both ends' use, from 1970 to 9999, as a board has no clock at first.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .wire.errors import Fault

_P256, _CONSTRAINTS, _USAGE = 415, 87, 126
"""OpenSSL's numbers of the curve and of two extensions."""

_EXTENSIONS = ((_CONSTRAINTS, b"critical,CA:FALSE"), (_USAGE, b"clientAuth,serverAuth"))
_FIRST, _LAST = b"700101000000Z", b"99991231235959Z"
_UTF8 = 0x1000
_V3 = 2
_PEM_BYTES = 8192
_COMMAND_S = 60.0
_SETTINGS = """\
[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
CN = {name}
[extensions]
basicConstraints = critical,CA:FALSE
extendedKeyUsage = clientAuth,serverAuth
"""


def make(name: str) -> tuple[str, str]:
    """A new key's certificate and the key, as PEM texts. ``name`` is for people; only the key counts.

    A :class:`Fault` where this device can't make them.
    """
    name = "".join(one for one in name if one.isascii() and (one.isalnum() or one in "._-"))[:64] or "device"
    whys = []
    for way in (_by_library, _by_command):
        try:
            return way(name)
        except Exception as error:  # noqa: BLE001 - a stripped or damaged Python, an OpenSSL without a function
            whys.append(f"{type(error).__name__}: {error}")
    raise Fault("no-identity", f"this device can't make itself a key ({'; '.join(whys)})")


def _by_library(name: str) -> tuple[str, str]:
    """By what ``_ssl`` is linked with: a look-up in it finds the names of its libraries."""
    import _ssl
    import ctypes

    library = ctypes.CDLL(getattr(_ssl, "__file__", None))

    def function(called: str, gives: Any, *takes: Any) -> Callable[..., Any]:
        found = getattr(library, called)
        found.restype, found.argtypes = gives, takes

        def call(*arguments: Any) -> Any:
            answer = found(*arguments)
            if gives is not None and not answer:
                raise OSError(f"OpenSSL's {called} failed")
            return answer

        return call

    pointer, number, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    with ExitStack() as made:

        def new(called: str, free: str, *arguments: Any, takes: tuple[Any, ...] = ()) -> Any:
            it = function(called, pointer, *takes)(*arguments)
            made.callback(function(free, None, pointer), it)
            return it

        def do(called: str, *arguments: Any, takes: tuple[Any, ...]) -> None:
            function(called, number, *takes)(*arguments)

        curve = new("EC_KEY_new_by_curve_name", "EC_KEY_free", _P256, takes=(number,))
        do("EC_KEY_generate_key", curve, takes=(pointer,))
        key = new("EVP_PKEY_new", "EVP_PKEY_free")
        do("EVP_PKEY_set1_EC_KEY", key, curve, takes=(pointer, pointer))

        certificate = new("X509_new", "X509_free")

        def part(called: str) -> Any:
            return function(called, pointer, pointer)(certificate)

        do("X509_set_version", certificate, _V3, takes=(pointer, ctypes.c_long))
        serial = part("X509_get_serialNumber")
        do("ASN1_INTEGER_set_uint64", serial, secrets.randbits(63) | 1, takes=(pointer, ctypes.c_uint64))
        for called, moment in (("X509_getm_notBefore", _FIRST), ("X509_getm_notAfter", _LAST)):
            do("ASN1_TIME_set_string", part(called), moment, takes=(pointer, text))
        subject = part("X509_get_subject_name")
        entry = (subject, b"CN", _UTF8, name.encode(), -1, -1, 0)
        do("X509_NAME_add_entry_by_txt", *entry, takes=(pointer, text, number, text, number, number, number))
        do("X509_set_issuer_name", certificate, subject, takes=(pointer, pointer))
        do("X509_set_pubkey", certificate, key, takes=(pointer, pointer))
        for kind, value in _EXTENSIONS:
            takes = (pointer, pointer, number, text)
            extension = new("X509V3_EXT_conf_nid", "X509_EXTENSION_free", None, None, kind, value, takes=takes)
            do("X509_add_ext", certificate, extension, -1, takes=(pointer, pointer, number))
        digest = function("EVP_sha256", pointer)()
        do("X509_sign", certificate, key, digest, takes=(pointer, pointer, pointer))

        def pem(called: str, *arguments: Any) -> str:
            out = new("BIO_new", "BIO_free", function("BIO_s_mem", pointer)(), takes=(pointer,))
            do(called, out, *arguments, takes=(pointer,) * (1 + len(arguments)))
            buffer = ctypes.create_string_buffer(_PEM_BYTES)
            size = function("BIO_read", number, pointer, pointer, number)(out, buffer, _PEM_BYTES)
            return buffer.raw[:size].decode("ascii")

        return pem("PEM_write_bio_X509", certificate), pem(
            "PEM_write_bio_PKCS8PrivateKey", key, None, None, None, None, None
        )


def _by_command(name: str) -> tuple[str, str]:
    command = shutil.which("openssl")
    if command is None:
        raise FileNotFoundError("there is no command 'openssl'")
    with tempfile.TemporaryDirectory(prefix="identity-") as folder:
        settings, key, certificate, request = (Path(folder, each) for each in ("settings", "key", "crt", "csr"))
        settings.write_text(_SETTINGS.format(name=name))

        def run(*words: str | Path) -> None:
            done = subprocess.run([command, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_S)
            if done.returncode:
                said = done.stderr.decode(errors="replace").strip().splitlines()
                raise OSError(f"'openssl {words[0]}' failed ({said[-1] if said else done.returncode})")

        run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        dates = ("-startdate", _FIRST.decode(), "-enddate", _LAST.decode())
        run("req", "-new", "-config", settings, "-key", key, "-out", request)
        (Path(folder) / "index").touch()
        settings.write_text(
            _SETTINGS.format(name=name)
            + "[ca]\ndefault_ca = own\n[own]\n"
            + f"database = {folder}/index\nnew_certs_dir = {folder}\nrand_serial = yes\ndefault_md = sha256\n"
            + "policy = any\nx509_extensions = extensions\n[any]\ncommonName = supplied\n"
        )
        run(
            "ca", "-batch", "-notext", "-selfsign", "-config", settings, *dates,
            "-keyfile", key, "-in", request, "-out", certificate,
        )  # fmt: skip
        return certificate.read_text("ascii"), key.read_text("ascii")
