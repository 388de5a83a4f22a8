"""A GStreamer RTSP server that serves a video in Motion JPEG. Runs on Debian's own Python, which has its bindings."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402


def main() -> None:
    """Serves argv[1] as rtsp://127.0.0.1:argv[2]/part, again from its start for every client."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[2])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( filesrc location={sys.argv[1]} ! avidemux ! rtpjpegpay name=pay0 pt=26 )")
    server.get_mount_points().add_factory("/part", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
