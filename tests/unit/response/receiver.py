"""A receiver of webhooks: a real HTTP server on loopback that answers as a test wants it to."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from infra.sections import ResponseSettings
from jobs.response.webhook import Webhook

SECRET = "not told to anybody"


class Receiver:
    """Answers with ``codes`` in turn, the last one for ever; ``hang``: with nothing; ``trickle``: a byte now and then.

    With certificates over TLS.
    """

    def __init__(self, certificates: Path | None = None) -> None:
        self.codes: list[int] = [200]
        self.body = b"taken"
        self.manner = ""
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.over = threading.Event()
        #: Called once a message has come, before it is answered.
        self.meanwhile: Callable[[], None] = lambda: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.got.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                receiver.meanwhile()
                if receiver.manner == "hang":
                    receiver.over.wait(20)
                    return
                if receiver.manner == "trickle":
                    self._trickle()
                    return
                self.send_response(receiver.codes.pop(0) if len(receiver.codes) > 1 else receiver.codes[0])
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)

            def _trickle(self) -> None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not receiver.over.wait(0.05):
                    try:
                        self.wfile.write(b"x")
                        self.wfile.flush()
                    except OSError:
                        return

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on standard error."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.scheme = "https" if certificates else "http"
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "public.crt", certificates / "private.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_port}/hook/token-in-the-path"

    def webhook(self, **settings: Any) -> Webhook:
        given = {"webhook_timeout_s": 10.0, **settings}
        return Webhook(ResponseSettings(responder="webhook", webhook_url=self.url, webhook_secret=SecretStr(SECRET), **given))

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
