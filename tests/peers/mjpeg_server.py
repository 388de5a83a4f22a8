"""An HTTP server that sends numbered pictures as Motion JPEG, as cheap network cameras do."""

import itertools
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


class Camera(BaseHTTPRequestHandler):
    """Sends 25 pictures a second, and none any more after argv[2] of them, with the connection left open.

    They are black where argv[3] is `black`, and come as fast as they are taken where it is `flood`.
    """

    def do_GET(self) -> None:
        """Answers with an endless multipart stream."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        most = int(sys.argv[2])
        for number in itertools.count():
            if number >= most:
                time.sleep(3600)
            level = 0 if "black" in sys.argv else 40 + number % 100
            picture = np.full((120, 160, 3), level, np.uint8)
            data = cv2.imencode(".jpg", picture)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + data + b"\r\n")
            except OSError:
                return
            if "flood" not in sys.argv:
                time.sleep(0.04)

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Camera)
    print("ready", flush=True)
    server.serve_forever()
